"""The entries of a corpus, with their labels and groups. Takes a corpus spec, gives one entry per image, streaming."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from workers.corpus.fetch import READ_HANG_S
from workers.host.hangs import Limit
from workers.sources.registry import source_of
from workers.sources.source import Entry
from workers.spec.parts import CorpusSpec
from workers.spec.patterns import Pattern


@dataclass(frozen=True)
class Listed:
    """One image of the corpus as the listing saw it; the columns of a manifest row but for `removed`."""

    image_id: str
    uri: str
    bytes: int
    etag: str
    label: str | None
    group: str | None
    refused: str | None


def listing(corpus: CorpusSpec, limit: Limit | None = None) -> Iterator[Listed]:
    """All images of a corpus, in any order.

    Args:
        corpus: what to list.
        limit: how long the storage may be silent; every answer restarts it, whether it names an image or not.

    Raises:
        CorpusError: the source does not exist, is a file, or of a kind that has no folders.
    """
    entries = source_of(corpus.source).entries(corpus.source, limit or Limit(READ_HANG_S))
    label, group = _label_of(corpus), _group_of(corpus)
    return (Listed(**vars(entry), label=label(entry), group=group(entry)) for entry in entries)


def _label_of(corpus: CorpusSpec) -> Callable[[Entry], str | None]:
    return _folder if corpus.label == "folder" else _nothing


def _group_of(corpus: CorpusSpec) -> Callable[[Entry], str | None]:
    if corpus.group == "none":
        return _nothing
    if corpus.group == "folder":
        return _folder
    pattern = Pattern(corpus.group)
    return lambda entry: pattern.first(entry.image_id)


def _folder(entry: Entry) -> str | None:
    """The name of the folder that an image lies in; None for one directly below the corpus."""
    return PurePosixPath(entry.image_id).parent.name or None


def _nothing(_: Entry) -> None:
    return None
