"""Corpora that are lists of paths: CSV, TSV, JSONL, or a column of Parquet. Takes rows, gives an entry for each.

A relative path is resolved against the folder of the list. All paths lie below one folder or bucket, so that it is known which
places a list can name before it is read.
"""

import csv
import io
import json
import os
import posixpath
import stat
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import IO, Any

import pyarrow as pa

from workers import files
from workers.errors import CorpusError, Reason
from workers.files import is_local
from workers.sources import columns
from workers.sources.columns import Layout, Row
from workers.sources.containers import Container, ContainerSource
from workers.sources.sidecars import SIDECARS
from workers.sources.single_files import SINGLE_FILES
from workers.sources.source import SourceEntry
from workers.sources.walking import Filter, FoundFile, describe, found_file

REQUESTS = 32  # to a store at once
CHUNK = 1024  # rows that are looked up together
LONGEST_FIELD = 1 << 20  # characters of a field of CSV
_HTTP = ("http://", "https://")


@dataclass(frozen=True)
class _Listed:
    """One row of a list.

    Attributes:
        uri: where its image lies.
        path: its path below the folder of all images.
        image_id: id of the image.
        row: its columns.
    """

    uri: str
    path: str
    image_id: str
    row: Row


def entries(rows: Iterator[Row], layout: Layout, container: Container) -> Iterator[SourceEntry]:
    """An entry for each row. What does not exist is listed as a reject.

    Args:
        rows: the rows.
        layout: their columns.
        container: the list.

    Raises:
        CorpusError: a row has no path, or its path does not lie below the folder of the images.
        OSError: the storage cannot be asked.
    """
    places = _Places.of(container)
    listed = (places.listed(number, row, layout) for number, row in enumerate(rows, 1))
    wanted = Filter(hidden=True, extensions=container.request.extensions, ordered=False)
    chosen = (item for item in listed if wanted.accepts(item.uri, container.tally))
    with ThreadPoolExecutor(REQUESTS) as pool:
        while chunk := list(islice(chosen, CHUNK)):
            container.limit.restart()
            look_up = map if places.is_local else pool.map
            for item, file in zip(chunk, look_up(_look_up, chunk), strict=True):
                container.limit.restart()
                yield _entry(item, file, layout)


@dataclass(frozen=True)
class _Places:
    """The places of a list.

    Attributes:
        place: the list.
        folder: the folder of the list.
        within: the folder or bucket below which all images lie.
    """

    place: str
    folder: str
    within: str

    @classmethod
    def of(cls, container: Container) -> "_Places":
        """The places of a list.

        Raises:
            CorpusError: the folder of the images is on an unknown kind of store, or on an http server.
        """
        folder = container.place.rpartition("/")[0]
        within = container.request.within or folder
        if within.startswith(_HTTP):
            raise CorpusError(
                f"images on an http server ({within}) cannot be read from a list; download the images first"
            )
        try:
            files.filesystem(within)
        except (ValueError, ImportError) as error:
            raise CorpusError(f"corpus.within {within!r} cannot be read: {error}") from error
        return cls(container.place, _plain(folder), _plain(within))

    @property
    def is_local(self) -> bool:
        """Whether the images are on this machine."""
        return "://" not in self.within

    def listed(self, number: int, row: Row, layout: Layout) -> _Listed:
        """A row with its uri and id.

        Raises:
            CorpusError: it has no path, or the path does not lie below `within`.
        """
        text = row.get(layout.image)
        if not text:
            raise CorpusError(f"row {number} of {self.place!r} has no path in column {layout.image!r}")
        uri = self._uri(text)
        if not uri.startswith(f"{self.within}/") or ".." in uri.split("/"):
            raise CorpusError(
                f"row {number} of {self.place!r} names {text!r}, which is not below {self.within!r}; give the folder or "
                "bucket of all its images with --within"
            )
        path = uri[len(self.within) + 1 :].lstrip("/")
        return _Listed(uri, path, layout.id_of(row, number, self.place) or path, row)

    def _uri(self, text: str) -> str:
        """The uri of a row's path."""
        if text.startswith("/"):
            return posixpath.normpath(text)
        if "://" in text:
            return _plain(text)
        return _join(self.folder, text) if "://" in self.folder else posixpath.normpath(f"{self.folder}/{text}")


def _plain(place: str) -> str:
    """A local path without its scheme, `.` and `..`; a URL without a slash at its end, but otherwise unchanged."""
    scheme, mark, path = place.partition("://")
    if not mark or scheme in ("file", "local"):
        return posixpath.normpath(path if mark else place)
    return f"{scheme}://{path.rstrip('/')}"


def _join(folder: str, path: str) -> str:
    """The URL of a relative path; only `.` and `..` are resolved, because `//` may be a part of a key."""
    parts = folder.split("/")
    for part in path.split("/"):
        if part == ".." and len(parts) > 3:
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _look_up(item: _Listed) -> FoundFile | None:
    """The size and version of a row's file; None if there is no such file.

    Raises:
        OSError: the storage cannot be asked.
    """
    if not columns.is_text(item.uri):
        return None
    filesystem, path = files.filesystem_of_key(item.uri)
    try:
        if is_local(filesystem):
            return found_file(filesystem, path) if stat.S_ISREG(os.stat(path).st_mode) else None
        info = filesystem.info(path)
        return describe(info) if info["type"] == "file" else None
    except (FileNotFoundError, NotADirectoryError):
        return None


def _entry(item: _Listed, file: FoundFile | None, layout: Layout) -> SourceEntry:
    refused = None if file else Reason.VANISHED if columns.is_text(item.uri) else Reason.BAD_NAME
    return SourceEntry(
        image_id=columns.as_text(item.image_id),
        uri=columns.as_text(item.uri),
        bytes=file.bytes if file else 0,
        etag=file.etag if file else "",
        refused=refused,
        label=layout.label_of(item.row),
        path=columns.as_text(item.path),
        columns=item.row,
    )


def _csv(container: Container) -> Iterator[SourceEntry]:
    """The images that a CSV or TSV file names."""
    with container.open() as (file, _):
        rows = read_csv(file, container.place)
        names = next(rows)
        schema = pa.schema([pa.field(name, pa.string()) for name in names if name])
        layout = columns.layout_of(schema, container.request, container.place)
        yield from entries(rows, layout, container)


def read_csv(file: IO[bytes], place: str, *, complete: bool = False) -> Iterator[Row]:
    """The first line of a CSV file, as columns without values, and then its rows. Fields are separated by tabs in a `.tsv`.

    If `complete`, each row must have all fields; else those at its end may be missing.

    Raises:
        CorpusError: the file is not CSV in UTF-8.
    """
    csv.field_size_limit(LONGEST_FIELD)
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    reader = csv.DictReader(text, delimiter="\t" if place.endswith(".tsv") else ",", strict=True)
    try:
        yield dict.fromkeys(reader.fieldnames or ())
        for row in reader:
            if None in row:
                raise CorpusError(f"line {reader.line_num} of {place!r} has more fields than the first line")
            if complete and None in row.values():
                raise CorpusError(f"line {reader.line_num} of {place!r} has fewer fields than the first line")
            yield {name: value or None for name, value in row.items()}
    except csv.Error as error:
        raise CorpusError(f"line {reader.line_num + 1} of {place!r} cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{place!r} is not text in UTF-8: {error}; save it as UTF-8") from error


def _jsonl(container: Container) -> Iterator[SourceEntry]:
    """The images that a JSONL file names. The first object has the path; other columns may be missing in some objects."""
    with container.open() as (file, _):
        rows = _objects(file, container.place)
        first = next(rows, {})
        optional = (*SIDECARS.keys, *container.request.columns)
        schema = pa.schema(
            [pa.field(name, pa.string()) for name in dict.fromkeys((*first, *(optional if first else ())))]
        )
        layout = columns.layout_of(schema, container.request, container.place)
        texts = (_texts(row, layout.image) for row in chain([first] if first else [], rows))
        yield from entries(texts, layout, container)


def _texts(row: Mapping[str, Any], image: str) -> Row:
    """The values of an object that are text or numbers, as text. The path in the column `image` is unchanged."""
    texts = {name: columns.text_of(value) for name, value in row.items()}
    return texts | {image: row[image]} if isinstance(row.get(image), str) else texts


def _objects(file: IO[bytes], place: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file; empty lines are skipped."""
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"line {number} of {place!r} is not valid JSON: {error}") from error
        if not isinstance(row, dict):
            raise CorpusError(f'line {number} of {place!r} is not a JSON object, such as {{"path": "a.jpg"}}')
        yield row


LISTS = (
    ContainerSource("list", (".csv", ".tsv"), _csv, SINGLE_FILES, may_be_list=True),
    ContainerSource("list", (".jsonl", ".ndjson"), _jsonl, SINGLE_FILES, may_be_list=True),
)
