"""One image of a corpus at a time. Takes a shard of one image, reads it, has a worker look at it, writes what was found in it."""

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Generic

import pyarrow as pa

from workers.actors import reading
from workers.actors.job import Job, Spec
from workers.actors.shard import Shard, ShardReport, ShardType
from workers.actors.worker import Worker
from workers.corpus.manifest import Row
from workers.corpus.reader import Batch, Picture
from workers.store import rows
from workers.store.root import Root


@dataclass(frozen=True)
class Single:
    """One image as it was read.

    Attributes:
        row: its row of the manifest.
        batch: holds the picture, or the reject.
    """

    row: Row
    batch: Batch

    @property
    def pictures(self) -> Sequence[Picture]:
        """The picture, if it could be used."""
        return self.batch.pictures

    @property
    def rejects(self) -> dict[str, int]:
        """The reject by its reason, if it could not."""
        return dict(Counter(str(reject.reason) for reject in self.batch.rejects))

    def encoded(self, schema: pa.Schema, found: list[dict[str, Any]]) -> bytes:
        """The result of the shard: the image accounted for, and what was found in it."""
        row = {
            "images": [{k: v for k, v in asdict(record).items() if k != "group"} for record in self.batch.records],
            "rejects": [asdict(reject) for reject in self.batch.rejects],
            "found": found,
        }
        return rows.encode(schema, pa.Table.from_pylist([row], schema))


def read(job: Job[Any], root: Root, shard: Shard) -> Single:
    """Read and prepare the one image of a shard.

    Raises:
        OtherVerdicts: see `reading.judged`.
    """
    listed, verdicts = reading.judged(root, [shard])
    [batch] = reading.batches(job, listed, 1, verdicts)
    return Single(listed[0], batch)


class SingleWorker(Worker[Spec], ABC, Generic[Spec, ShardType]):
    """A worker whose items are shards of one image.

    Attributes:
        RESULT: the schema of its results.
    """

    RESULT: ClassVar[pa.Schema]

    @abstractmethod
    def found(self, picture: Picture, row: Row, shard: ShardType) -> Iterable[dict[str, Any]]:
        """What there is to say of the image, as rows of the result, in the order of the instrument's table."""

    def run(self, shard: ShardType) -> ShardReport:
        """Look at the one image of a shard and write its result, which then is its done mark."""
        started = time.monotonic()
        self.done = 0
        image = read(self.job, self.root, shard)
        waited = time.monotonic() - started
        found = [row for picture in image.pictures for row in self.found(picture, image.row, shard)]
        storing = time.monotonic()
        self.root.put(shard.result, image.encoded(self.RESULT, found))
        self.done, ended = 1, time.monotonic()
        return ShardReport(shard, len(image.pictures), image.rejects, ended - started, waited, ended - storing)
