"""The entries of a corpus, with their labels and groups. Takes a corpus spec, gives one entry per image, streaming."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from workers.corpus.fetch import READ_HANG_S
from workers.host.hangs import Limit
from workers.sources.registry import source_of
from workers.sources.source import SourceEntry
from workers.spec.parts import CorpusSpec
from workers.spec.patterns import Pattern


@dataclass(frozen=True)
class ListedImage:
    """One image of a listing: the columns of a manifest row without `removed`."""

    image_id: str
    uri: str
    bytes: int
    etag: str
    label: str | None
    group: str | None
    refused: str | None


def listing(corpus: CorpusSpec, limit: Limit | None = None) -> Iterator[ListedImage]:
    """All images of a corpus, in any order.

    Args:
        corpus: the corpus to list.
        limit: how long the storage may be silent. Every answer restarts it, whether or not it contains an image.

    Raises:
        CorpusError: the source does not exist, is a file, or has a protocol without folders.
    """
    entries = source_of(corpus.source).entries(corpus.source, limit or Limit(READ_HANG_S))
    label, group = _label_of(corpus), _group_of(corpus)
    return (ListedImage(**vars(entry), label=label(entry), group=group(entry)) for entry in entries)


def _label_of(corpus: CorpusSpec) -> Callable[[SourceEntry], str | None]:
    return _folder_name if corpus.label == "folder" else _no_name


def _group_of(corpus: CorpusSpec) -> Callable[[SourceEntry], str | None]:
    if corpus.group == "none":
        return _no_name
    if corpus.group == "folder":
        return _folder_name
    pattern = Pattern(corpus.group)
    return lambda entry: pattern.first(entry.image_id)


def _folder_name(entry: SourceEntry) -> str | None:
    """The name of an image's folder; None if the image is directly in the corpus."""
    return PurePosixPath(entry.image_id).parent.name or None


def _no_name(_: SourceEntry) -> None:
    return None
