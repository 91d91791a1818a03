"""The images of one split. Takes entries and their splits, gives those of the wanted one; names the others if it has none."""

from collections import Counter
from collections.abc import Callable, Iterator

from workers.errors import CorpusError, nearest
from workers.sources.source import PassedOver, SourceEntry, Tally

MOST_NAMES = 1000  # names of splits that are counted
SHOWN = 8


def of_split(
    entries: Iterator[SourceEntry], wanted: str, form: str, split_of: Callable[[SourceEntry], str | None], tally: Tally
) -> Iterator[SourceEntry]:
    """The images of a split; the others are counted.

    Args:
        entries: the images of a corpus.
        wanted: the split.
        form: where splits come from, for errors.
        split_of: gives the split of an image; None if it has none.
        tally: counts what is skipped.

    Raises:
        CorpusError: there are images, but none in the split.
    """
    is_empty, others, first = True, Counter[str](), ""
    for entry in entries:
        split, first = split_of(entry), first or entry.image_id
        if split == wanted:
            is_empty = False
            yield entry
            continue
        tally.add(PassedOver.SPLIT if split else PassedOver.NO_SPLIT)
        if split and (split in others or len(others) < MOST_NAMES):
            others[split] += 1
    if is_empty and tally.counts[PassedOver.SPLIT]:
        shown = ", ".join(f"{name} ({count:,})" for name, count in others.most_common(SHOWN))
        more = ", ..." if len(others) > SHOWN else ""
        raise CorpusError(f"no image is in split {wanted!r}; {nearest(wanted, others)}; the splits are {shown}{more}")
    if is_empty and tally.counts[PassedOver.NO_SPLIT]:
        raise CorpusError(
            f"--splits '{form}' gives no image a split (first image id: {first!r}); use another source, such as folder:2 for "
            f"{wanted}/dog/1.jpg"
        )
