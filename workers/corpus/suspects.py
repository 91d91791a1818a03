"""The files that have verdicts, to find them in a large corpus. Takes a root and rows of a manifest, gives their verdicts."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.corpus import isolate, manifest
from workers.corpus.isolate import Verdict
from workers.store import paths
from workers.store.root import Root


@dataclass(frozen=True)
class Suspects:
    """The files with verdicts. Of a large corpus, only the rows of these files are looked up.

    Attributes:
        root: where the verdicts are stored.
        names: names of the files below verdicts/.
        uris: the files that the verdicts are on.
    """

    root: Root
    names: frozenset[str]
    uris: pa.Array

    @classmethod
    def of(cls, root: Root) -> "Suspects":
        """All suspects under a root."""
        stored = [f"{paths.VERDICTS}/{name}" for name in sorted(root.files(paths.VERDICTS))]
        uris = sorted(set(isolate.verdict_uris(root, stored).values()))
        return cls(root, frozenset(path.rpartition("/")[2] for path in stored), pa.array(uris, pa.string()))

    def verdicts(self, listed: pa.Table, start: int) -> dict[int, Verdict]:
        """The verdicts on rows of a manifest, by image index; the first row has the index `start`."""
        if not len(self.uris):
            return {}
        numbers = np.flatnonzero(pc.is_in(listed["uri"], self.uris).to_numpy())
        rows = (manifest.rows_of(listed.slice(number, 1), start + number)[0] for number in numbers.tolist())
        return isolate.read_verdicts(self.root, rows, self.names)
