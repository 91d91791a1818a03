"""Make a run visible at once. Takes written parts and facts, creates manifest.json, then the row of `runs`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from workers.errors import DamagedRun
from workers.store import paths
from workers.store.columns import VERSION
from workers.store.root import Root
from workers.store.rows import PartFile, TableWriter
from workers.store.schema import RUNS

Parts = Mapping[str, Sequence[PartFile]]


def published(root: Root, run: str) -> dict[str, Any] | None:
    """What a published run's manifest.json says; None if the run is not published."""
    path = paths.manifest_path(run)
    return dict(json.loads(root.read(path))) if root.exists(path) else None


def publish(root: Root, run: str, parts: Parts, facts: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
    """Commit a run: create manifest.json, which decides between writers, then what `complete` does.

    Returns:
        The manifest that stands: ours, or the one of the writer that was faster.

    Raises:
        DamagedRun: another writer published other tables under the same run id.
    """
    tables = {name: [asdict(part) for part in files] for name, files in parts.items()}
    schemas = dict.fromkeys(parts, VERSION)
    told = {"version": 1, "run": run, **facts, "tables": tables, "schemas": schemas}
    if not root.create(paths.manifest_path(run), json.dumps(told, indent=1, sort_keys=True).encode()):
        winner = published(root, run)
        if winner is None or winner["tables"] != tables:
            _remove_strays(root, winner or told)
            raise DamagedRun(f"run {run!r} was published meanwhile with other tables; give another --run")
        told = winner
    complete(root, told, scratch)
    return told


def complete(root: Root, told: Mapping[str, Any], scratch: Path) -> None:
    """Remove what a published run does not name from its folders; then add its row of `runs`, if it is missing."""
    run = told["run"]
    _remove_strays(root, told)
    if any(name.endswith(".parquet") for name in root.files(paths.table_folder(RUNS.name, run))):
        return
    totals = told["totals"]
    row = {
        "job": told["job"],
        "spec": json.dumps(told["spec"], sort_keys=True),
        "model_source": told["model"]["source"],
        "model_fingerprint": told["model"]["fingerprint"],
        "corpus": told["corpus"]["source"] if told["corpus"] else None,
        "created": datetime.fromisoformat(told["created"]),
        **{name: totals[name] for name in ("images", "rejects", "layers", "channels")},
        "seconds": told["seconds"],
        "images_per_s": told["images_per_s"],
        "versions": json.dumps(told["versions"], sort_keys=True),
    }
    with TableWriter(root, RUNS, run, scratch) as writer:
        writer.write(pa.Table.from_pylist([row], RUNS.schema))
        writer.close()


def _remove_strays(root: Root, told: Mapping[str, Any]) -> None:
    """An attempt that was not published may have left parts; a reader of whole folders would see them.

    Only what stands in no manifest goes, and only once there is one: another writer may be publishing the same run id.
    """
    named = {part["path"] for files in told["tables"].values() for part in files}
    for table in set(root.folders(paths.TABLES)) - {RUNS.name}:
        folder = paths.table_folder(table, told["run"])
        for name in root.files(folder):
            if name.endswith(".parquet") and f"{folder}/{name}" not in named:
                root.delete(f"{folder}/{name}")
