"""Lists in specs: their limits. Takes a list, raises an error if a value repeats or no such channel exists."""

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import Annotated

from pydantic import Field

from workers.errors import SpecError

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


def require_channels(key: str, channels: Iterable[int], layer: str, count: int) -> None:
    """Require that a layer has channels.

    Raises:
        SpecError: it lacks one; the error names the key and the first such channel.
    """
    unknown = next((channel for channel in channels if channel >= count), None)
    if unknown is not None:
        raise SpecError([f"{key}: no channel {unknown} in {layer}; it has 0 to {count - 1}"])
