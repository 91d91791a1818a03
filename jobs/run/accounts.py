"""Accounts for every image of a run. Takes shard results in order, writes one row per image to `images` or `rejects`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from jobs.run.results import StoredResults
from workers.actors.shard import Shard
from workers.corpus import manifest
from workers.corpus.manifest import Row
from workers.errors import RunStopped
from workers.store.rows import TableWriter
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


class Accounts:
    """The tables `images` and `rejects` of a run, filled shard by shard.

    Args:
        stored: the results of the shards.
        images: writer of the table `images`.
        rejects: writer of the table `rejects`.
    """

    def __init__(self, stored: StoredResults, images: TableWriter, rejects: TableWriter) -> None:
        self.stored = stored
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
        images, rejects = values(result, "images"), values(result, "rejects")
        listed = manifest.rows(self.stored.root, shard.manifest, shard.start, shard.stop)
        _check_complete(shard, listed, images, rejects)
        self._images.write(_rows(images, listed, IMAGES.schema))
        rejected = _rows(rejects, listed, REJECTS.schema)
        self._rejects.write(rejected)
        for row in rejected.slice(0, SHOWN - len(self._first)).to_pylist():
            self._first.append(f"{row['image_id']}: {row['reason']}: {row['detail']}")
        for reason in rejects.field("reason").to_pylist():
            self._reasons[reason] = self._reasons.get(reason, 0) + 1
        self._scanned += len(images)
        return result

    def counts(self) -> ImageCounts:
        """The counts over all shards taken so far.

        Raises:
            RunStopped: every image was rejected.
        """
        if not self._scanned:
            count = sum(self._reasons.values())
            reasons = ", ".join(f"{number:,} {reason}" for reason, number in sorted(self._reasons.items()))
            raise RunStopped(f"none of {count:,} images could be used ({reasons}), such as {'; '.join(self._first)}")
        return ImageCounts(self._scanned, dict(sorted(self._reasons.items())))


@dataclass(frozen=True)
class PriorAccounts:
    """Results of images that are already accounted for, by another network over the same images.

    Attributes:
        stored: the results of the shards.
        before: the counts of those images.
    """

    stored: StoredResults
    before: ImageCounts

    def take(self, shard: Shard) -> pa.Table:
        """Read a shard's result."""
        return self.stored.read(shard)

    def counts(self) -> ImageCounts:
        """The counts of the images."""
        return self.before


def values(result: pa.Table, name: str) -> pa.StructArray:
    """One of the lists in a shard's result, flattened."""
    return result[name].combine_chunks().flatten()


def _check_complete(shard: Shard, listed: Sequence[Row], images: pa.StructArray, rejects: pa.StructArray) -> None:
    expected = [row.image_index for row in listed if not row.removed]
    actual = sorted(images.field("image_index").to_pylist() + rejects.field("image_index").to_pylist())
    if actual != expected:
        raise RunStopped(
            f"shard {shard.start} to {shard.stop} has {len(expected)} images, but its result accounts for {len(actual)}"
        )


def _rows(records: pa.StructArray, listed: Sequence[Row], schema: pa.Schema) -> pa.Table:
    by_index = {row.image_index: row for row in listed}
    rows = [{**_image_key(by_index[record["image_index"]]), **record} for record in records.to_pylist()]
    return pa.Table.from_pylist(rows, schema)


def _image_key(row: Row) -> dict[str, Any]:
    return {"image_id": row.image_id, "uri": row.uri, "label": row.label, "group": row.group}
