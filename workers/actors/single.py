"""Workers whose shards are single images. Takes a shard, reads its image, computes rows about it, writes its result."""

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Generic

import pyarrow as pa

from workers.actors import reading
from workers.actors.job import Job, Spec
from workers.actors.reports import ShardReport
from workers.actors.shard import Shard, ShardType
from workers.actors.worker import Worker
from workers.corpus.batch import Batch, PreparedImage
from workers.corpus.manifest import Row
from workers.store import rows
from workers.store.root import Root


@dataclass(frozen=True)
class Single:
    """One image that was read.

    Attributes:
        row: its row of the manifest.
        batch: a batch with its picture or its reject.
    """

    row: Row
    batch: Batch

    @property
    def pictures(self) -> Sequence[PreparedImage]:
        """The picture, if the image can be used."""
        return self.batch.pictures

    @property
    def rejects(self) -> dict[str, int]:
        """The number of rejects by reason: one if the image cannot be used."""
        return dict(Counter(str(reject.reason) for reject in self.batch.rejects))

    def encode(self, schema: pa.Schema, results: list[dict[str, Any]]) -> bytes:
        """The encoded result of the shard: the image or its reject, and the rows about it."""
        row = {
            "images": [{k: v for k, v in asdict(record).items() if k != "group"} for record in self.batch.records],
            "rejects": [asdict(reject) for reject in self.batch.rejects],
            "found": results,
        }
        return rows.encode(schema, pa.Table.from_pylist([row], schema))


def read(job: Job[Any], root: Root, shard: Shard) -> Single:
    """Read and prepare the one image of a shard.

    Raises:
        OtherVerdicts: see `reading.read_rows`.
    """
    [row], verdicts = reading.read_rows(root, [shard])
    [batch] = reading.batches(job, [row], 1, verdicts)
    return Single(row, batch)


class SingleWorker(Worker[Spec], ABC, Generic[Spec, ShardType]):
    """A worker for shards of one image.

    Attributes:
        RESULT: the schema of the results.
    """

    RESULT: ClassVar[pa.Schema]

    @abstractmethod
    def compute_rows(self, picture: PreparedImage, row: Row, shard: ShardType) -> Iterable[dict[str, Any]]:
        """The rows about an image, in the order of the instrument's table."""

    def run(self, shard: ShardType) -> ShardReport:
        """Process the image of a shard and write its result, whose existence marks the shard as done."""
        started = time.monotonic()
        self.done = 0
        image = read(self.job, self.root, shard)
        waited = time.monotonic() - started
        results = [row for picture in image.pictures for row in self.compute_rows(picture, image.row, shard)]
        storing = time.monotonic()
        self.root.put(shard.result, image.encode(self.RESULT, results))
        self.done, ended = 1, time.monotonic()
        return ShardReport(shard, len(image.pictures), image.rejects, ended - started, waited, ended - storing)
