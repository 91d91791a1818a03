"""One image of a corpus at a time. Takes a shard of one image, gives it decoded, or the reject; encodes what was found in it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from workers.corpus import isolate, manifest, reader
from workers.corpus.manifest import Row
from workers.corpus.reader import Batch, Picture
from workers.job import Job, rows_key
from workers.shard import Shard
from workers.store import paths, rows
from workers.store.root import Root


@dataclass(frozen=True)
class Single:
    """One image as it was read.

    Attributes:
        row: its row of the manifest.
        key: the row's hash with what is known of the file; see `rows_key`.
        batch: holds the picture, or the reject.
    """

    row: Row
    key: str
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
    """Read and prepare the one image of a shard."""
    listed = manifest.rows(root, shard.manifest, shard.start, shard.stop)
    verdicts = isolate.read_verdicts(root, listed, root.files(paths.VERDICTS))
    options = reader.ReadOptions(job.spec.limits, 1, 1, verdicts=verdicts)
    prepare = partial(job.model.preprocessing.prepare, max_pixels=job.spec.limits.pixels)
    [batch] = reader.batches(listed, 1, prepare, options)
    return Single(listed[0], rows_key(listed, verdicts), batch)
