"""The documents of a run, such as manifest.json and spec.json. Takes values, gives bytes; takes bytes, gives values."""

import hashlib
import json
from datetime import datetime
from typing import Any

import pyarrow as pa
from pydantic import SerializerFunctionWrapHandler, model_serializer
from pydantic.dataclasses import dataclass

from workers.errors import DamagedRun
from workers.store import manifest, paths
from workers.store.json_format import JsonFormat
from workers.store.manifest import Manifest
from workers.store.root import Root
from workers.store.tables.shared import RUNS

_AGAIN = "and run the same command again: it reuses the results of its shards"


def checksum(data: bytes) -> bytes:
    """The manifest.sha256 of a manifest.json, in the format of `sha256sum`."""
    return checksum_line(hashlib.sha256(data).hexdigest())


def checksum_line(sha256: str) -> bytes:
    """The manifest.sha256 of a manifest.json with this SHA-256."""
    return f"{sha256}  manifest.json\n".encode()


def read_manifest(root: Root, run: str) -> Manifest | None:
    """The manifest of a run; None if the run is not published.

    Raises:
        DamagedRun: its manifest.json cannot be read by this version.
    """
    path = paths.manifest_path(run)
    return decode(root.read(path), run) if root.exists(path) else None


def decode_claim(data: bytes, run: str) -> Manifest:
    """The manifest in the bytes of a claim.json.

    Raises:
        DamagedRun: they are not a manifest of this run, or this version cannot read it.
    """
    try:
        return manifest.decode(data, run)
    except ValueError as error:
        raise DamagedRun(
            f"run {run!r} is claimed but not published, and its claim.json is damaged: {error}; remove the run "
            f"(`deconvoy rm {run} --root ROOT`) {_AGAIN}"
        ) from error


def decode(data: bytes, run: str) -> Manifest:
    """The manifest in the bytes of a manifest.json.

    Raises:
        DamagedRun: they are not a manifest of this run, or this version cannot read it.
    """
    try:
        return manifest.decode(data, run)
    except ValueError as error:
        raise DamagedRun(
            f"run {run!r} is published, but its manifest.json is damaged: {error}; restore it from a backup, or remove the "
            f"run (`deconvoy rm {run} --root ROOT`) {_AGAIN}"
        ) from error


@dataclass(frozen=True)
class Pin:
    """The content of spec.json.

    Attributes:
        identity: the run's identity as plain values.
        manifest: path of its corpus manifest.
        depth: the depth that was chosen for its 16-bit images; None if there was nothing to choose. It is then left out.
    """

    identity: Any
    manifest: str
    depth: str | None = None

    @model_serializer(mode="wrap")
    def _without_depth(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialize(self)
        return {key: value for key, value in values.items() if value is not None or key != "depth"}


PIN = JsonFormat(Pin)  # of spec.json


def runs_row(document: Manifest) -> pa.Table:
    """The row of `runs`, derived from a manifest."""
    row = {
        "job": document.job.value,
        "spec": json.dumps(document.spec.values, sort_keys=True),
        "model_source": document.model.source,
        "model_fingerprint": document.model.fingerprint,
        "corpus": document.corpus.source if document.corpus else None,
        "created": datetime.fromisoformat(document.created),
        "images": document.totals.images,
        "rejects": document.totals.rejects,
        "layers": document.totals.layers,
        "channels": document.totals.channels,
        "seconds": document.seconds,
        "images_per_s": document.images_per_s,
        "versions": json.dumps(document.versions, sort_keys=True),
        "half_precision_share": document.precision.share if document.precision else None,
        "passed_over": json.dumps(document.totals.passed_over, sort_keys=True),
        "half_precision_images": document.precision.images if document.precision else None,
    }
    return pa.Table.from_pylist([row], RUNS.schema)
