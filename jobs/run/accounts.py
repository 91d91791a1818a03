"""Who was scanned and who was not. Takes shard results in order, writes a row for every image; nothing is lost in silence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from jobs.run.results import Stored
from workers.actors.shard import Shard
from workers.corpus import manifest
from workers.corpus.manifest import Row
from workers.errors import RunStopped
from workers.store.rows import TableWriter
from workers.store.tables.shared import IMAGES, REJECTS


@dataclass(frozen=True)
class Counted:
    """Images of a run: listed = scanned + rejects.

    Attributes:
        images: scanned.
        rejects: not used, by reason.
    """

    images: int
    rejects: dict[str, int]

    @property
    def listed(self) -> int:
        """All of them."""
        return self.images + sum(self.rejects.values())


class Accounts:
    """The tables `images` and `rejects` of a run, filled shard by shard.

    Args:
        stored: the shards' results.
        images: writes what was scanned.
        rejects: writes what was not.
    """

    def __init__(self, stored: Stored, images: TableWriter, rejects: TableWriter) -> None:
        self.stored = stored
        self._images = images
        self._rejects = rejects
        self._scanned = 0
        self._reasons: dict[str, int] = {}

    def take(self, shard: Shard) -> pa.Table:
        """Read a shard's result and write a row for each of its images; gives the result.

        Raises:
            RunStopped: an image is neither scanned nor rejected.
        """
        result = self.stored.read(shard)
        images, rejects = values(result, "images"), values(result, "rejects")
        listed = manifest.rows(self.stored.root, shard.manifest, shard.start, shard.stop)
        _check_complete(shard, listed, images, rejects)
        self._images.write(_rows(images, listed, IMAGES.schema))
        self._rejects.write(_rows(rejects, listed, REJECTS.schema))
        for reason in rejects.field("reason").to_pylist():
            self._reasons[reason] = self._reasons.get(reason, 0) + 1
        self._scanned += len(images)
        return result

    def counted(self) -> Counted:
        """All that was taken.

        Raises:
            RunStopped: no image could be used.
        """
        if not self._scanned:
            worst = max(self._reasons, key=lambda reason: self._reasons[reason])
            count = sum(self._reasons.values())
            raise RunStopped(f"none of the {count} images could be used; the commonest reason is {worst}")
        return Counted(self._scanned, dict(sorted(self._reasons.items())))


@dataclass(frozen=True)
class Accounted:
    """Results of images that are accounted for already: another network's, of the same images.

    Attributes:
        stored: the shards' results.
        before: who was scanned and who was not.
    """

    stored: Stored
    before: Counted

    def take(self, shard: Shard) -> pa.Table:
        """A shard's result."""
        return self.stored.read(shard)

    def counted(self) -> Counted:
        """All that was taken."""
        return self.before


def values(result: pa.Table, name: str) -> pa.StructArray:
    """One of the lists of a shard's result."""
    return result[name].combine_chunks().flatten()


def _check_complete(shard: Shard, listed: Sequence[Row], images: pa.StructArray, rejects: pa.StructArray) -> None:
    wanted = [row.image_index for row in listed if not row.removed]
    got = sorted(images.field("image_index").to_pylist() + rejects.field("image_index").to_pylist())
    if got != wanted:
        raise RunStopped(f"shard {shard.start} to {shard.stop} lists {len(wanted)} images and accounts for {len(got)}")


def _rows(told: pa.StructArray, listed: Sequence[Row], schema: pa.Schema) -> pa.Table:
    known = {row.image_index: row for row in listed}
    return pa.Table.from_pylist([{**_who(known[each["image_index"]]), **each} for each in told.to_pylist()], schema)


def _who(row: Row) -> dict[str, Any]:
    return {"image_id": row.image_id, "uri": row.uri, "label": row.label, "group": row.group}
