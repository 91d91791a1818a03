"""Accounts for every image of a run. Takes shard results in order, writes one row per image to `images` or `rejects`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.run.results import StoredResults
from workers.actors.shard import Shard
from workers.corpus import manifest
from workers.corpus.manifest import Row
from workers.errors import RunStopped
from workers.store.rows import TableWriter, values
from workers.store.tables.shared import IMAGES, REJECTS

SHOWN = 3  # rejects that an error names


@dataclass(frozen=True)
class ImageCounts:
    """How many images a run scanned and rejected.

    Attributes:
        images: number of images scanned.
        rejects: number of images rejected, by reason.
    """

    images: int
    rejects: dict[str, int]

    @property
    def listed(self) -> int:
        """Number of images listed: scanned and rejected."""
        return self.images + sum(self.rejects.values())


@dataclass(frozen=True)
class ScannedImage:
    """An image that was scanned: its row of the manifest, size in pixels, and the SHA-256 of its file."""

    row: Row
    height: int
    width: int
    sha256: str


class Accounts:
    """The tables `images` and `rejects` of a run, filled shard by shard.

    Args:
        stored: the results of the shards.
        images: writer of the table `images`.
        rejects: writer of the table `rejects`.
        wanted: indices of images to remember, ascending.

    Attributes:
        known: the wanted images that were scanned, by image index.
    """

    def __init__(
        self,
        stored: StoredResults,
        images: TableWriter,
        rejects: TableWriter,
        wanted: np.ndarray[Any, Any] | Sequence[int] = (),
    ) -> None:
        self.stored = stored
        self.known: dict[int, ScannedImage] = {}
        self._wanted = np.asarray(wanted, np.int64)
        self._images = images
        self._rejects = rejects
        self._scanned = 0
        self._reasons: dict[str, int] = {}
        self._first: list[str] = []

    def take(self, shard: Shard) -> pa.Table:
        """Read a shard's result, write a row for each of its images, and return the result.

        Raises:
            RunStopped: an image is neither among the images nor among the rejects.
        """
        result = self.stored.read(shard)
        self._add(shard, result, manifest.table(self.stored.root, shard.manifest, shard.start, shard.stop))
        return result

    def add_all(self, shards: Sequence[Shard]) -> ImageCounts:
        """Write a row for each image of a corpus whose shards these are, in order; see `take` and `counts`."""
        first = shards[0]
        parts = manifest.tables(self.stored.root, first.manifest, first.stop - first.start)
        for shard, listed in zip(shards, parts, strict=True):
            self._add(shard, self.stored.read(shard, ["images", "rejects"], sealed=False), listed)
        return self.counts()

    @property
    def hashes(self) -> Mapping[int, str]:
        """The SHA-256 of the wanted images' files, by image index."""
        return {index: image.sha256 for index, image in self.known.items()}

    def _add(self, shard: Shard, result: pa.Table, listed: pa.Table) -> None:
        images, rejects = values(result, "images"), values(result, "rejects")
        _check_complete(shard, listed, images, rejects)
        self._images.write(_rows(shard, images, listed, IMAGES.schema))
        rejected = _rows(shard, rejects, listed, REJECTS.schema)
        self._rejects.write(rejected)
        for row in rejected.slice(0, SHOWN - len(self._first)).to_pylist():
            self._first.append(f"{row['image_id']}: {row['reason']}: {row['detail']}")
        for reason in rejects.field("reason").to_pylist():
            self._reasons[reason] = self._reasons.get(reason, 0) + 1
        self._scanned += len(images)
        self._remember(shard, listed, images)

    def _remember(self, shard: Shard, listed: pa.Table, images: pa.StructArray) -> None:
        """Keep the wanted images of a shard."""
        start, stop = np.searchsorted(self._wanted, [shard.start, shard.stop])
        if start == stop:
            return
        is_wanted = pc.is_in(images.field("image_index"), pa.array(self._wanted[start:stop]))
        found = images.filter(is_wanted)
        rows = listed.take(_positions(shard, found))
        for image, row in zip(found.to_pylist(), rows.to_pylist(), strict=True):
            index = image["image_index"]
            key = Row(index, **row)
            self.known[index] = ScannedImage(key, image["height"], image["width"], image["sha256"])

    def counts(self) -> ImageCounts:
        """The counts over all shards taken so far.

        Raises:
            RunStopped: every image was rejected.
        """
        if not self._scanned:
            count = sum(self._reasons.values())
            reasons = ", ".join(f"{number:,} {reason}" for reason, number in sorted(self._reasons.items()))
            first = "; ".join(self._first)
            raise RunStopped(f"none of the {count:,} images could be used ({reasons}); for example, {first}")
        return ImageCounts(self._scanned, dict(sorted(self._reasons.items())))


def _check_complete(shard: Shard, listed: pa.Table, images: pa.StructArray, rejects: pa.StructArray) -> None:
    expected = shard.start + np.flatnonzero(~listed["removed"].to_numpy())
    found = [part.field("image_index").to_numpy() for part in (images, rejects)]
    if not np.array_equal(np.sort(np.concatenate(found)), expected):
        raise RunStopped(
            f"shard {shard.start} to {shard.stop} has {len(expected)} images, but its result accounts for "
            f"{sum(map(len, found))}"
        )


def _rows(shard: Shard, records: pa.StructArray, listed: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows of a table: what a result says about its images, with their keys in the manifest."""
    keys = listed.take(_positions(shard, records))
    columns = dict(zip(keys.column_names, keys.columns, strict=True))
    columns |= dict(zip(records.type.names, records.flatten(), strict=True))
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _positions(shard: Shard, records: pa.StructArray) -> pa.Array:
    """The positions of images in the rows of their shard."""
    return pc.subtract(records.field("image_index"), shard.start)
