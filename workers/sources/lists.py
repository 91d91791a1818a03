"""Corpora that are lists of paths: CSV, TSV, JSONL, or a column of Parquet. Takes rows, gives an entry for each.

A relative path is resolved against the folder of the list. All paths lie below one folder or bucket, so that it is known which
places a list can name before it is read.
"""

import csv
import io
import json
import os
import posixpath
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any

import pyarrow as pa

from workers import files
from workers.errors import CorpusError, Reason
from workers.files import is_local
from workers.sources import columns
from workers.sources.columns import Layout, Row
from workers.sources.containers import Container, ContainerSource
from workers.sources.single_files import SINGLE_FILES
from workers.sources.source import SourceEntry
from workers.sources.walking import Filter, FoundFile, found_file

REQUESTS = 32  # to a store at once
CHUNK = 1024  # rows that are looked up together
LONGEST_FIELD = 1 << 20  # characters of a field of CSV


@dataclass(frozen=True)
class _Listed:
    """One row of a list.

    Attributes:
        number: its number, from 0.
        uri: where its image lies.
        image_id: id of the image.
        row: its columns.
    """

    number: int
    uri: str
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
    """
    folder = container.place.rpartition("/")[0]
    within = (container.request.within or folder).rstrip("/")
    listed = (_listed(number, row, layout, container.place, folder, within) for number, row in enumerate(rows))
    wanted = Filter(hidden=True, extensions=container.request.extensions, ordered=False)
    chosen = (item for item in listed if wanted.accepts(item.uri, container.tally))
    with ThreadPoolExecutor(REQUESTS) as pool:
        while chunk := list(islice(chosen, CHUNK)):
            container.limit.restart()
            local = chunk[0].uri.startswith("/")
            for item, file in zip(chunk, map(_look_up, chunk) if local else pool.map(_look_up, chunk), strict=True):
                container.limit.restart()
                yield _entry(item, file, layout)


def _listed(number: int, row: Row, layout: Layout, place: str, folder: str, within: str) -> _Listed:
    """A row with its uri and id."""
    text = row.get(layout.image)
    if not text:
        raise CorpusError(f"row {number + 1} of {place!r} has no path in column {layout.image!r}")
    uri = _normal(text if _is_absolute(text) else f"{folder}/{text}")
    if not uri.startswith(f"{within}/"):
        raise CorpusError(
            f"row {number + 1} of {place!r} names {text!r}, which is not below {within!r}; give the folder or bucket of all "
            "its images with --within"
        )
    return _Listed(number, uri, layout.id_of(row, number + 1, place) or uri[len(within) + 1 :], row)


def _is_absolute(text: str) -> bool:
    return text.startswith("/") or "://" in text


def _normal(uri: str) -> str:
    """A path or URL without `.` and `..`, and without the scheme of local files."""
    scheme, mark, path = uri.rpartition("://")
    plain = posixpath.normpath(path)
    return plain if scheme in ("", "file", "local") else f"{scheme}{mark}{plain}"


def _look_up(item: _Listed) -> FoundFile | None:
    """The size and version of a row's file; None if there is no such file."""
    filesystem, path = files.filesystem(item.uri)
    try:
        if is_local(filesystem):
            return found_file(filesystem, path) if os.path.isfile(path) else None
        return found_file(filesystem, path) if filesystem.isfile(path) else None
    except (FileNotFoundError, NotADirectoryError):
        return None


def _entry(item: _Listed, file: FoundFile | None, layout: Layout) -> SourceEntry:
    text = item.image_id.encode(errors="surrogateescape").decode("utf-8", "backslashreplace")
    return SourceEntry(
        image_id=text,
        uri=item.uri,
        bytes=file.bytes if file else 0,
        etag=file.etag if file else "",
        refused=None if file else Reason.VANISHED,
        label=layout.label_of(item.row),
        path=item.uri,
        columns=item.row,
    )


def _csv(container: Container) -> Iterator[SourceEntry]:
    """The images that a CSV or TSV file names."""
    with container.open() as (file, _):
        csv.field_size_limit(LONGEST_FIELD)
        text = io.TextIOWrapper(file, "utf-8-sig", newline="")
        reader = csv.DictReader(text, delimiter="\t" if container.path.endswith(".tsv") else ",", strict=True)
        rows = _checked(reader, container)
        yield from entries(rows, _layout(list(_header(reader, container)), container), container)


def _header(reader: "csv.DictReader[str]", container: Container) -> Sequence[str]:
    try:
        return [name for name in reader.fieldnames or () if name]
    except (csv.Error, UnicodeDecodeError) as error:
        raise CorpusError(f"the first line of {container.place!r} cannot be read: {error}") from error


def _checked(reader: "csv.DictReader[str]", container: Container) -> Iterator[Row]:
    """The rows of a CSV file."""
    try:
        for row in reader:
            if None in row:
                raise CorpusError(f"line {reader.line_num} of {container.place!r} has more fields than the first line")
            yield {name: value or None for name, value in row.items()}
    except (csv.Error, UnicodeDecodeError) as error:
        raise CorpusError(f"line {reader.line_num + 1} of {container.place!r} cannot be read: {error}") from error


def _jsonl(container: Container) -> Iterator[SourceEntry]:
    """The images that a JSONL file names."""
    with container.open() as (file, _):
        rows = _objects(file, container)
        first = next(rows, {})
        layout = _layout(list(first), container)
        yield from entries((layout.flat(row) for row in _again(first, rows)), layout, container)


def _again(first: dict[str, Any], rest: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    if first:
        yield first
    yield from rest


def _objects(file: IO[bytes], container: Container) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file; empty lines are skipped."""
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"line {number} of {container.place!r} is not valid JSON: {error}") from error
        if not isinstance(row, dict):
            raise CorpusError(f'line {number} of {container.place!r} is not a JSON object, such as {{"path": "a.jpg"}}')
        yield row


def _layout(names: list[str], container: Container) -> Layout:
    """The layout of a list with these columns, all of which are text."""
    schema = pa.schema([pa.field(name, pa.string()) for name in names])
    return columns.layout_of(schema, container.request, container.place)


LISTS = (
    ContainerSource("list", (".csv", ".tsv"), _csv, SINGLE_FILES, may_be_list=True),
    ContainerSource("list", (".jsonl", ".ndjson"), _jsonl, SINGLE_FILES, may_be_list=True),
)
