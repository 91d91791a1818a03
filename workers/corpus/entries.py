"""The entries of a corpus, with their labels and groups. Takes a corpus spec, gives one entry per image, streaming."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from workers.corpus.fetch import READ_HANG_S
from workers.host.hangs import Limit
from workers.sources.registry import source_of
from workers.sources.source import SourceEntry
from workers.spec import keys
from workers.spec.keys import FolderKey, Key, NoKey, PatternKey
from workers.spec.parts import CorpusSpec


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
    label, group = _label_maker(keys.parse(corpus.label, "label")), _maker(keys.parse(corpus.group, "group"))
    return (_listed(entry, label(entry), group(entry)) for entry in entries)


def _listed(entry: SourceEntry, label: str | None, group: str | None) -> ListedImage:
    return ListedImage(entry.image_id, entry.uri, entry.bytes, entry.etag, label, group, entry.refused)


def _label_maker(key: Key) -> Callable[[SourceEntry], str | None]:
    """A function that gives an image's label: `folder` prefers a label that the corpus itself gives."""
    make = _maker(key)
    if key == FolderKey():
        return lambda entry: entry.label or make(entry)
    return make


def _maker(key: Key) -> Callable[[SourceEntry], str | None]:
    """A function that gives an image's label or group."""
    match key:
        case NoKey():
            return lambda _: None
        case FolderKey(number):
            return lambda entry: entry.folder(number or 1)
        case PatternKey(pattern):
            return lambda entry: pattern.first(entry.image_id)
