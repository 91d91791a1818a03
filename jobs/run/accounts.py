"""Accounts for every image of a run: one row in `images` or `rejects`. Takes shard results, gives the parts of these tables.

For scans, actors write the rows (`account`): 262,144 images at a time, named by all that they depend on. If a corpus grows, only
its last part is written again. Jobs over single images have few of them; the driver writes their rows (`Accounts`).
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.run.attempt import Attempt
from jobs.run.deriving import Deriving
from jobs.run.results import StoredResults
from jobs.run.tally import ImageCounts, Tally
from workers.actors.account import ACCOUNT_ALGORITHM, check_complete, examples, rows_of
from workers.actors.job import digest
from workers.actors.shard import Account, Shard
from workers.corpus import manifest
from workers.corpus.row_keys import listing_key
from workers.store import paths, rows
from workers.store.columns import Table
from workers.store.facts import PartFile
from workers.store.root import Root
from workers.store.rows import TableWriter, stage_part, values
from workers.store.tables.scan import PREDICTIONS
from workers.store.tables.shared import IMAGES, REJECTS

WRITTEN = (IMAGES, REJECTS, PREDICTIONS)  # tables whose parts actors write
# What the files of the parts depend on besides their rows: columns with their docs and ids, sizes of row groups, compression.
_FORM = hashlib.sha256(
    b"".join(
        table.schema.serialize().to_pybytes() + repr((table.group_rows, rows.options(table))).encode()
        for table in WRITTEN
    )
).hexdigest()
PART_IMAGES = 1 << 18  # images of one part, rejects included


@dataclass(frozen=True)
class ScannedImage:
    """An image that was scanned: its key and label, size in pixels, and the SHA-256 of its file."""

    image_id: str
    uri: str
    label: str | None
    height: int
    width: int
    sha256: str


@dataclass(frozen=True)
class Accounted:
    """The images of a scan.

    Attributes:
        parts: the parts of `images`, `rejects` and `predictions`, staged.
        counts: numbers of images and rejects.
        known: the wanted images, by image index.
        results: paths of the results that the parts are from.
    """

    parts: Mapping[str, tuple[PartFile, ...]]
    counts: ImageCounts
    known: Mapping[int, ScannedImage]
    results: tuple[str, ...]

    @property
    def hashes(self) -> Mapping[int, str]:
        """The SHA-256 of the wanted images' files, by image index."""
        return {index: image.sha256 for index, image in self.known.items()}


def account(
    run: Attempt[Any],
    stored: StoredResults,
    shards: Sequence[Shard],
    wanted: np.ndarray[Any, Any],
    class_names: tuple[str, ...] | None = None,
) -> Accounted:
    """Account for every image of a corpus. Actors do that; the driver copies their parts.

    Args:
        run: the attempt; its actors can derive results.
        stored: the results of the shards.
        shards: all shards, in the order of their images.
        wanted: indices of images to remember, ascending.
        class_names: names of the classes of predictions, which may be none; None for a job without the table `predictions`.

    Raises:
        RunStopped: an image is neither among the images nor among the rejects, or every image was rejected.
    """
    tables = (IMAGES, REJECTS) if class_names is None else WRITTEN
    items = list(_items(run.root, shards, class_names or ()))
    results = Deriving(run, shards, [items], stored).finish("account", "parts")
    tally, known = Tally(), dict[int, ScannedImage]()
    parts: dict[str, list[PartFile]] = {table.name: [] for table in tables}
    for item in items:
        [row] = results.read(item).to_pylist()
        tally.add(row["scanned"], {entry["reason"]: entry["count"] for entry in row["reasons"]}, row["examples"])
        for table in tables:
            if row[table.name] is not None:
                number = len(parts[table.name])
                parts[table.name].append(stage_part(run.root, table, run.run, number, row[table.name]))
        if row[IMAGES.name] is not None:
            known.update(_known(pq.read_table(pa.BufferReader(row[IMAGES.name])), wanted))
    counts = tally.counts()
    whole = {table.name: tuple(parts[table.name]) or _empty(run, table) for table in tables}
    return Accounted(whole, counts, known, tuple(item.result for item in items))


def _items(root: Root, shards: Sequence[Shard], class_names: tuple[str, ...]) -> Iterator[Account]:
    """The images in parts of PART_IMAGES, whatever the sizes of the shards: so these do not change the tables."""
    listed, first, start = shards[0].manifest, 0, 0
    for part in manifest.tables(root, listed, PART_IMAGES):
        stop = start + len(part)
        while shards[first].stop <= start:
            first += 1
        last = first
        while last < len(shards) and shards[last].start < stop:
            last += 1
        children = tuple(shards[first:last])
        names = [shard.result for shard in children]
        key = digest(
            [
                "account",
                ACCOUNT_ALGORITHM,
                pa.__version__,
                _FORM,
                start,
                stop,
                listing_key(part, start),
                class_names,
                *names,
            ]
        )
        yield Account(start, stop, paths.merge_path(key), listed, children, pa.__version__, class_names)
        start = stop


def _empty(run: Attempt[Any], table: Table) -> tuple[PartFile, ...]:
    with run.writer(table) as writer:
        return writer.close()


def _known(images: pa.Table, wanted: np.ndarray[Any, Any]) -> dict[int, ScannedImage]:
    """The wanted ones of some images."""
    indices = images["image_index"].to_numpy()
    start, stop = np.searchsorted(wanted, [indices[0], indices[-1] + 1])
    mine = images.filter(pa.array(np.isin(indices, wanted[start:stop])))
    names = [field.name for field in fields(ScannedImage)]
    scanned = [ScannedImage(**row) for row in mine.select(names).to_pylist()]
    return dict(zip(mine["image_index"].to_pylist(), scanned, strict=True))


class Accounts:
    """The tables `images` and `rejects` of a job over single images, filled image by image.

    Args:
        stored: the results of the shards.
        images: writer of the table `images`.
        rejects: writer of the table `rejects`.
    """

    def __init__(self, stored: StoredResults, images: TableWriter, rejects: TableWriter) -> None:
        self._stored, self._images, self._rejects, self._tally = stored, images, rejects, Tally()

    def take(self, shard: Shard) -> pa.Table:
        """Read a shard's result, write a row for each of its images, and return the result.

        Raises:
            RunStopped: an image is neither among the images nor among the rejects.
        """
        result = self._stored.read(shard)
        listed = manifest.table(self._stored.root, shard.manifest, shard.start, shard.stop)
        images, rejects = values(result, "images"), values(result, "rejects")
        check_complete(shard.start, shard.stop, listed, images.field("image_index"), rejects.field("image_index"))
        self._images.write(rows_of(shard.start, images, listed, IMAGES))
        rejected = rows_of(shard.start, rejects, listed, REJECTS)
        self._rejects.write(rejected)
        self._tally.add(len(images), Counter(rejected["reason"].to_pylist()), examples(rejected))
        return result

    def counts(self) -> ImageCounts:
        """The counts over all shards taken so far.

        Raises:
            RunStopped: every image was rejected.
        """
        return self._tally.counts()
