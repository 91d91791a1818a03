"""The search for a fault that was put into the code. Takes its name, gives how many lives it stays hidden."""

from collections.abc import Iterator
from pathlib import Path

from tests.model.life import LIVES, SHARDS, Life, calm, live
from tests.model.mutations import mutated
from workers.errors import DeconvoyError

MOST_NUMBERS = 20  # of lives in which a fault must show


def find_fault(corpus: Path, name: str) -> tuple[int, str]:
    """Put a fault into the code; gives the lives until it shows, and the line that shows it.

    Raises:
        AssertionError: it does not show.
        Exception: the code breaks in another way than an invariant, or an error of one line.
    """
    for shard in SHARDS:
        calm(corpus, shard)  # before the code has the fault
    before = Life.lives
    with mutated(name):
        for number in range(MOST_NUMBERS):
            try:
                live(corpus, number, LIVES, shrink=False)
            except Exception as error:
                errors = list(_flat(error))
                if not all(isinstance(part, AssertionError | DeconvoyError) for part in errors):
                    raise
                return Life.lives - before, str(errors[0]).partition("\n")[0]
    raise AssertionError(f"{name}: {MOST_NUMBERS * LIVES} lives do not show it")


def _flat(error: BaseException) -> Iterator[BaseException]:
    """The errors of a group, or the one error."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _flat(part)
    else:
        yield error
