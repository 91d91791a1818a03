"""Labels and groups from files. Takes a listing and CSV files, writes the labels into the listing; reads the words of labels."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from workers import files
from workers.corpus.merging import low_memory
from workers.errors import CorpusError
from workers.host.retrying import reason
from workers.sources.columns import Row
from workers.sources.lists import read_csv
from workers.spec import keys
from workers.spec.keys import FileKey
from workers.spec.parts import CorpusSpec

ROWS = 8192  # of a file of labels that are held at once
NAMES_BYTES = 64 << 20
ID = "image_id"
_NAMED = pa.schema([pa.field("id", pa.string()), pa.field("value", pa.string())])

_JOIN = """
    COPY (
        SELECT listed.* REPLACE (named.value AS "{column}")
        FROM read_parquet(?) AS listed LEFT JOIN named ON named.id = listed.image_id
    ) TO '{target}' (FORMAT parquet)
"""


def read_names(place: str) -> Mapping[str, str]:
    """The words of labels. A line is a label, a space or tab, and its words; words that several labels share name the label, too.

    Raises:
        CorpusError: the file cannot be read, or a line has no words.
    """
    lines = _read(place, NAMES_BYTES).decode("utf-8-sig", "replace").splitlines()
    numbered = [(number, line.split(None, 1)) for number, line in enumerate(lines, 1) if line.strip()]
    wrong = next((number for number, pair in numbered if len(pair) != 2), None)
    if wrong or not numbered:
        what = f"line {wrong} is {lines[wrong - 1].strip()!r}" if wrong else "it is empty"
        raise CorpusError(
            f"{place!r} is not a label-names file: {what}; each line holds a label and a readable name, such as "
            "n02099601 golden retriever"
        )
    pairs = [pair for _, pair in numbered]
    twice = [label for label, count in Counter(label for label, _ in pairs).items() if count > 1]
    if twice:
        raise CorpusError(f"{place!r} names label {twice[0]!r} more than once")
    counts = Counter(words.strip() for _, words in pairs)
    return {
        label: words.strip() if counts[words.strip()] == 1 else f"{words.strip()} ({label})" for label, words in pairs
    }


def values_of(key: FileKey) -> Mapping[str, str]:
    """The values in a CSV file by image id; images without a value are left out.

    Raises:
        CorpusError: the file cannot be read, lacks a column, has a row without an id, or names an image twice.
    """
    with TemporaryDirectory() as folder, open_values(key, Path(folder)) as database:
        rows = database.execute("SELECT id, value FROM named WHERE value IS NOT NULL")
        chunks = iter(lambda: rows.fetchmany(ROWS), [])
        return {image_id: sys.intern(value) for chunk in chunks for image_id, value in chunk}


def add_from_files(listed: Path, corpus: CorpusSpec) -> None:
    """Write the labels and groups that a corpus takes from files into its listing.

    Raises:
        CorpusError: a file cannot be read, lacks a column, names an image twice, or names no image of the corpus.
    """
    names = read_names(corpus.label_names) if corpus.label_names else {}
    is_part = bool(corpus.limit or corpus.sample or corpus.split)
    for column in ("label", "group"):
        key = keys.parse(corpus.forms[column], column)
        if isinstance(key, FileKey):
            _add(listed, key, names if column == "label" else {}, is_part=is_part)


@contextmanager
def open_values(
    key: FileKey | None, scratch: Path, names: Mapping[str, str] = MappingProxyType({})
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database whose view `named` has the rows of a CSV file: `id`, and `value` with its words instead if it has some.

    Without a file, the view has no rows.

    Raises:
        CorpusError: the file cannot be read, lacks a column, has a row without an id, or names an image twice.
    """
    copied = scratch / "named.parquet"
    if key:
        _copy(key, names, copied)
    else:
        pq.write_table(_NAMED.empty_table(), copied)
    with duckdb.connect(config=low_memory(scratch)) as database:
        database.read_parquet(str(copied)).create_view("named")
        if key:
            _require_once(database, key)
        yield database
    copied.unlink()


def _add(listed: Path, key: FileKey, names: Mapping[str, str], *, is_part: bool) -> None:
    """Write the values of one file into a column of a listing."""
    target = listed.with_name("joined.parquet")
    with open_values(key, listed.parent, names) as database:
        if not is_part:
            _require_match(database, key, listed)
        database.execute(_JOIN.format(column=key.column, target=target), [str(listed)])
    target.replace(listed)


def _copy(key: FileKey, names: Mapping[str, str], target: Path) -> None:
    """Write the ids and values of a CSV file to Parquet.

    Raises:
        CorpusError: the file cannot be read, lacks a column, or has a row without an id.
    """
    try:
        filesystem, path = files.filesystem(key.place)
        with filesystem.open(path, "rb") as file, pq.ParquetWriter(target, _NAMED) as writer:
            rows = read_csv(file, key.place, complete=True)
            _require_columns(key, [name for name in next(rows) if name])
            pairs = (_pair(number, row, key, names) for number, row in enumerate(rows, 1))
            while chunk := list(islice(pairs, ROWS)):
                writer.write_table(pa.Table.from_pylist(chunk, _NAMED))
    except (OSError, ValueError, ImportError) as error:
        raise CorpusError(f"{key.column} file {key.place!r} cannot be read: {reason(error)}") from error


def _pair(number: int, row: Row, key: FileKey, names: Mapping[str, str]) -> dict[str, str | None]:
    image_id, value = row[ID], (row[key.column] or "").strip()
    if not image_id:
        raise CorpusError(f"row {number} of {key.column} file {key.place!r} has no {ID}")
    return {"id": image_id, "value": names.get(value, value) if value else None}


def _require_columns(key: FileKey, known: list[str]) -> None:
    missing = [name for name in (ID, key.column) if name not in known]
    if missing:
        if not known:
            raise CorpusError(f"{key.column} file {key.place!r} is empty; its first line must be {ID},{key.column}")
        commas = "; columns are separated by commas" if len(known) == 1 and ";" in known[0] else ""
        raise CorpusError(
            f"{key.column} file {key.place!r} needs the columns {ID} and {key.column}, but has {', '.join(known)}{commas}"
        )


def _require_once(database: duckdb.DuckDBPyConnection, key: FileKey) -> None:
    twice = database.execute("SELECT id FROM named GROUP BY id HAVING count(*) > 1 ORDER BY id LIMIT 1").fetchone()
    if twice:
        raise CorpusError(f"{key.column} file {key.place!r} names image {twice[0]!r} more than once")


def _require_match(database: duckdb.DuckDBPyConnection, key: FileKey, listed: Path) -> None:
    """Refuse a file that names no image of the corpus: its ids probably have another form."""
    query = "SELECT 1 FROM read_parquet(?) AS listed SEMI JOIN named ON named.id = listed.image_id LIMIT 1"
    if database.execute(query, [str(listed)]).fetchone() is None:
        given = database.execute("SELECT id FROM named LIMIT 1").fetchone()
        if given is None:
            raise CorpusError(f"{key.column} file {key.place!r} has no rows")
        image = database.execute("SELECT image_id FROM read_parquet(?) LIMIT 1", [str(listed)]).fetchone()
        raise CorpusError(
            f"{key.column} file {key.place!r} names no image of the corpus; its first id is {given[0]!r}, whereas the "
            f"corpus has ids such as {image and image[0]!r}"
        )


def _read(place: str, most_bytes: int) -> bytes:
    try:
        return files.read(place, most_bytes)
    except (OSError, ValueError, ImportError) as error:
        raise CorpusError(f"{place!r} cannot be read: {reason(error)}") from error
