"""Lists in specs: their limits. Takes a list, raises ValueError if a value repeats; gives the type of a list of channels."""

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import Annotated

from pydantic import Field

MOST_CHANNELS = 65_536  # more than any layer has

Channels = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(max_length=MOST_CHANNELS)]


def require_distinct(key: str, values: Iterable[Hashable]) -> None:
    """Require that no value of a list repeats, in linear time.

    Raises:
        ValueError: one does; the error names the key and the first such value.
    """
    repeated = next((value for value, count in Counter(values).items() if count > 1), None)
    if repeated is not None:
        raise ValueError(f"{key}: {repeated} is named twice")
