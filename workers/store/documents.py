"""The documents of a run: manifest.json, its checksum, spec.json, the row of `runs`. Takes facts, gives bytes; reads them."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa

from workers.errors import DamagedRun
from workers.store import paths
from workers.store.root import Root
from workers.store.schema import RUNS

Document = Mapping[str, Any]
_AGAIN = "and run the same command again: it reuses the results of its shards"


def encode(document: Document) -> bytes:
    """A manifest.json."""
    return json.dumps(document, indent=1, sort_keys=True).encode()


def checksum(data: bytes) -> bytes:
    """The line beside a manifest.json, in the format of `sha256sum`."""
    return checksum_line(hashlib.sha256(data).hexdigest())


def checksum_line(sha256: str) -> bytes:
    """The same line, of a manifest.json with this SHA-256."""
    return f"{sha256}  manifest.json\n".encode()


def published(root: Root, run: str) -> Document | None:
    """The manifest.json of a published run; None if the run is not published.

    Raises:
        DamagedRun: it is not a manifest.
    """
    path = paths.manifest_path(run)
    return decode(root.read(path), run) if root.exists(path) else None


def claimed(data: bytes, run: str) -> Document:
    """The manifest.json that a claim.json holds.

    Raises:
        DamagedRun: it is not a manifest of this run.
    """
    try:
        return parse(data, run)
    except ValueError as error:
        raise DamagedRun(
            f"run {run!r} is claimed and not yet published, and its claim.json is damaged: {error}; remove the run "
            f"(deconvoy rm {run}) {_AGAIN}"
        ) from error


def decode(data: bytes, run: str) -> Document:
    """What the bytes of a published manifest.json say.

    Raises:
        DamagedRun: they are not a manifest of this run.
    """
    try:
        return parse(data, run)
    except ValueError as error:
        raise DamagedRun(
            f"run {run!r} is published and its manifest.json is damaged, {error}; restore it from a copy, or remove the "
            f"run (deconvoy rm {run}) {_AGAIN}"
        ) from error


def parse(data: bytes, run: str) -> Document:
    """What the bytes of a manifest say.

    Raises:
        ValueError: they are not a manifest of this run, and why.
    """
    try:
        document = json.loads(data)
        owner, is_whole = document["run"], document["version"] and document["tables"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"it cannot be read: {type(error).__name__}: {error}") from error
    if owner != run:
        raise ValueError(f"it is of run {owner!r}")
    if not is_whole:
        raise ValueError("it has no version or no tables")
    return dict(document)


def pin(identity: Any, manifest: str) -> bytes:  # noqa: ANN401 - JSON
    """A spec.json: what a run is, and the corpus manifest that it keeps to."""
    return json.dumps({"identity": identity, "manifest": manifest}, indent=1, sort_keys=True).encode()


def runs_row(document: Document) -> pa.Table:
    """The row of `runs` that a manifest.json implies."""
    totals, corpus = document["totals"], document["corpus"]
    row = {
        "job": document["job"],
        "spec": json.dumps(document["spec"], sort_keys=True),
        "model_source": document["model"]["source"],
        "model_fingerprint": document["model"]["fingerprint"],
        "corpus": corpus["source"] if corpus else None,
        "created": datetime.fromisoformat(document["created"]),
        **{name: totals[name] for name in ("images", "rejects", "layers", "channels")},
        "seconds": document["seconds"],
        "images_per_s": document["images_per_s"],
        "versions": json.dumps(document["versions"], sort_keys=True),
    }
    return pa.Table.from_pylist([row], RUNS.schema)
