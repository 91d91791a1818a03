"""The entries of a corpus, with their labels and groups. Takes a corpus spec, gives one entry per image, streaming."""

import hashlib
import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from workers.corpus.fetch import READ_HANG_S
from workers.corpus.labels import read_names, values_of
from workers.corpus.splits import of_split
from workers.errors import CorpusError
from workers.host.hangs import Limit
from workers.sources.columns import as_text
from workers.sources.registry import source_of
from workers.sources.source import Request, SourceEntry, Tally
from workers.spec import keys
from workers.spec.keys import ColumnKey, FileKey, FolderKey, Key, NoKey, PatternKey
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


def listing(corpus: CorpusSpec, limit: Limit | None = None, tally: Tally | None = None) -> Iterator[ListedImage]:
    """The images of a corpus, in any order.

    Args:
        corpus: the corpus to list.
        limit: how long the storage may be silent. Every answer restarts it, whether or not it contains an image.
        tally: counts what is skipped.

    Raises:
        CorpusError: the source does not exist, is not a corpus, or has a protocol without folders.
    """
    source, request = source_of(corpus.source), _request(corpus)
    tally = Tally() if tally is None else tally
    entries = source.entries(request, limit or Limit(READ_HANG_S), tally)
    if corpus.split is not None:
        entries = of_split(entries, corpus.split, corpus.forms["split"], _split_maker(_parsed(corpus)["split"]), tally)
    label, group = _label_maker(_parsed(corpus)["label"]), _group_maker(_parsed(corpus)["group"])
    names = read_names(corpus.label_names) if corpus.label_names else {}
    return (_listed(entry, _named(label(entry), names), group(entry)) for entry in _choose(entries, corpus))


def _named(label: str | None, names: Mapping[str, str]) -> str | None:
    """The words of a label; the label itself if it has none."""
    return names.get(label, label) if label else label


def _request(corpus: CorpusSpec) -> Request:
    """What a corpus asks of its source."""
    return Request(
        source=corpus.source,
        hidden=corpus.include_hidden,
        extensions=frozenset(corpus.extensions) or None,
        image_column=corpus.image_column,
        id_column=corpus.id_column,
        columns=frozenset(key.name for key in _parsed(corpus).values() if isinstance(key, ColumnKey)),
        within=corpus.within,
        every=corpus.every,
        in_order=corpus.limit is not None,
    )


def _parsed(corpus: CorpusSpec) -> Mapping[str, Key]:
    """Where labels, groups and splits come from, by what they are."""
    return {what: keys.parse(form, what) for what, form in corpus.forms.items()}


def _choose(entries: Iterator[SourceEntry], corpus: CorpusSpec) -> Iterator[SourceEntry]:
    """The first entries, or a random sample that depends on the ids alone, if the corpus asks for that."""
    if corpus.id_column or corpus.image_column:
        entries = map(_require_columns, entries)
    if corpus.every is not None:
        entries = map(_require_frames, entries)
    if corpus.sample is not None:
        entries = iter(heapq.nsmallest(corpus.sample, entries, key=_by_hash))
    return itertools.islice(entries, corpus.limit)


def _require_columns(entry: SourceEntry) -> SourceEntry:
    """Refuse keys that name columns if the corpus is not a table."""
    if entry.columns is None:
        raise CorpusError("the corpus has no columns; --image-column and --id-column need a list or Parquet")
    return entry


def _require_frames(entry: SourceEntry) -> SourceEntry:
    """Refuse a key for videos if the corpus has other images."""
    if entry.group is None and entry.refused is None:
        raise CorpusError(
            "the corpus has images, and --every is for videos; select videos with a glob, such as 'clips/**/*.mp4'"
        )
    return entry


def _by_hash(entry: SourceEntry) -> bytes:
    return hashlib.sha256(entry.image_id.encode(errors="surrogateescape")).digest()


def _listed(entry: SourceEntry, label: str | None, group: str | None) -> ListedImage:
    return ListedImage(entry.image_id, entry.uri, entry.bytes, entry.etag, label, group, entry.refused)


def _label_maker(key: Key) -> Callable[[SourceEntry], str | None]:
    """A function that gives an image's label: `folder` prefers a label that the corpus itself gives."""
    make = _maker(key)
    if key == FolderKey():
        return lambda entry: entry.label or make(entry)
    return make


def _group_maker(key: Key) -> Callable[[SourceEntry], str | None]:
    """A function that gives an image's group: `none` and `folder` take the one that the corpus itself gives, if any."""
    make = _maker(key)
    if key in (NoKey(), FolderKey()):
        return lambda entry: entry.group or make(entry)
    return make


def _split_maker(key: Key) -> Callable[[SourceEntry], str | None]:
    """A function that gives an image's split."""
    if isinstance(key, FileKey):
        splits = values_of(key)
        return lambda entry: splits.get(entry.image_id)
    return _maker(key)


def _maker(key: Key) -> Callable[[SourceEntry], str | None]:
    """A function that gives an image's label or group."""
    match key:
        case NoKey() | FileKey():  # a file's values are added to the whole listing
            return lambda _: None
        case FolderKey(number):
            return lambda entry: entry.folder(number or 1)
        case PatternKey(pattern):
            return lambda entry: pattern.first(entry.image_id)
        case ColumnKey(name):
            return lambda entry: _column(entry, name)


def _column(entry: SourceEntry, name: str) -> str | None:
    """The value of a column.

    Raises:
        CorpusError: the corpus is not a table.
    """
    if entry.columns is None:
        way_out = "; name the source of the splits, for example with --splits folder:2" if name == "split" else ""
        raise CorpusError(f"the corpus has no column {name!r}, because it is neither a list nor Parquet{way_out}")
    value = entry.columns.get(name)
    return as_text(value).strip() or None if value else None
