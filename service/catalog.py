"""Which runs are published. Takes a root, gives what their manifests say; a folder without a manifest is no run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workers.errors import DamagedRun, RunError, nearest
from workers.store import paths
from workers.store.root import Root


@dataclass(frozen=True)
class PublishedRun:
    """One published run.

    Attributes:
        root: where it lies.
        told: what its manifest.json says.
    """

    root: Root
    told: Mapping[str, Any]

    @property
    def run(self) -> str:
        """Run id."""
        return str(self.told["run"])

    @property
    def layers(self) -> Sequence[Mapping[str, Any]]:
        """The layers that the run looked at, in the order of the graph."""
        return list(self.told["layers"])

    def rows(self, table: str, columns: list[str] | None = None, filters: Any = None) -> pa.Table:  # noqa: ANN401
        """Rows of one table out of exactly the files that the manifest names; row groups that cannot match are not read.

        Raises:
            DamagedRun: a file is missing or has another size.
        """
        parts = [self._part(part, columns, filters) for part in self.told["tables"][table]]
        return pa.concat_tables(parts)

    def _part(self, part: Mapping[str, Any], columns: list[str] | None, filters: Any) -> pa.Table:  # noqa: ANN401
        folder, _, name = part["path"].rpartition("/")
        if self.root.files(folder).get(name) != part["bytes"]:
            raise DamagedRun(f"run {self.run!r}: {part['path']} is missing or is not the file that was published")
        with self.root.open(part["path"]) as file:
            return pq.read_table(file, columns=columns, filters=filters, partitioning=None)


def runs(root: Root) -> list[PublishedRun]:
    """All published runs, the newest first."""
    found = []
    for name in root.folders(paths.RUNS):
        if "manifest.json" in root.files(paths.run_folder(name)):
            found.append(PublishedRun(root, json.loads(root.read(paths.manifest_path(name)))))
    return sorted(found, key=lambda run: (run.told["created"], run.run), reverse=True)


def find(root: Root, run: str | None) -> PublishedRun:
    """A published run, the newest without a name.

    Raises:
        RunError: there is no such run.
    """
    known = {each.run: each for each in runs(root)}
    if not known:
        raise RunError(f"root {root.url!r} holds no published run")
    if run is None:
        return next(iter(known.values()))
    if run not in known:
        raise RunError(f"no published run {run!r} in {root.url!r}; {nearest(run, known)}")
    return known[run]
