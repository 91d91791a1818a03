"""Which runs are published. Takes a root, gives what the runs' manifests say; looks at nothing else."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from workers.errors import DamagedRun, QueryError, RunError, nearest
from workers.host import log
from workers.spec.make import check_run_id
from workers.store import files, paths
from workers.store.root import Root

VERSION = 1
MANIFESTS_DEPTH = 2  # runs/RUN/manifest.json


@dataclass(frozen=True)
class Part:
    """One Parquet file of a run: path relative to the root, size in bytes, rows, and SHA-256."""

    path: str
    bytes: int
    rows: int
    sha256: str


@dataclass(frozen=True)
class Layer:
    """A layer of a run: size of its feature map, and the receptive field of its units in model-input pixels."""

    index: int
    name: str
    channels: int
    height: int
    width: int
    field_height: int
    field_width: int
    stride_y: int | None
    stride_x: int | None

    def known(self, channel: int) -> int:
        """The channel's number, if the layer has it.

        Raises:
            QueryError: it does not.
        """
        if not 0 <= channel < self.channels:
            raise QueryError(f"no channel {channel} in layer {self.name!r}; it has 0 to {self.channels - 1}")
        return channel


@dataclass(frozen=True)
class PublishedRun:
    """One published run.

    Attributes:
        root: where it lies.
        run: run id.
        job: kind of job: scan, occlude, invert, ...
        created: when it was published, UTC, ISO 8601.
        model: source of the model.
        corpus: source of the images.
        input_height: rows of the model's input, pixels.
        input_width: columns of the model's input, pixels.
        spec: everything that the run was asked to do, as plain values.
        images: images scanned.
        rejects: images not used.
        rejects_by_reason: the same, by reason.
        layers: in the order of the graph.
        tables: files by table.
    """

    root: Root
    run: str
    job: str
    created: str
    model: str
    corpus: str
    input_height: int
    input_width: int
    spec: Mapping[str, Any]
    images: int
    rejects: int
    rejects_by_reason: Mapping[str, int]
    layers: tuple[Layer, ...]
    tables: Mapping[str, tuple[Part, ...]]

    @property
    def k(self) -> int:
        """Images kept per channel; 0 for a job that keeps none."""
        return int(self.spec.get("scan", {}).get("k", 0))

    @property
    def method(self) -> str:
        """How activations were carried down; empty for a job that does not."""
        return str(self.spec.get("project", {}).get("method", ""))

    @cached_property
    def mark(self) -> str:
        """Tells this run from another one that is published under its id after it was removed."""
        return hashlib.sha256(f"{self.run} {self.created}".encode()).hexdigest()[:8]

    def layer(self, name: str) -> Layer:
        """The layer of this name.

        Raises:
            QueryError: the run has none.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise QueryError(
            f"run {self.run!r} has no layer {name!r}; {nearest(name, [each.name for each in self.layers])}"
        )


def runs(root: Root) -> tuple[PublishedRun, ...]:
    """All published runs, the newest first. One whose manifest is damaged is named in the log and left out.

    Raises:
        DamagedRun: all manifests are damaged.
    """
    found, damaged = readable(root)
    if damaged and not found:
        raise DamagedRun(next(iter(damaged.values())))
    for told in damaged.values():
        log.Log().say(f"{told}; the run is left out", log.WARNING)
    return found


def some(root: Root) -> tuple[PublishedRun, ...]:
    """All published runs, the newest first, of which there is one at least.

    Raises:
        RunError: there is none.
        DamagedRun: all manifests are damaged.
    """
    found = runs(root)
    if not found:
        raise RunError(f"root {root.url!r} holds no published run")
    return found


def readable(root: Root) -> tuple[tuple[PublishedRun, ...], Mapping[str, str]]:
    """The published runs whose manifests can be understood, the newest first, and what is wrong with the others, by run id."""
    found, damaged = [], {}
    for run in marks(root):
        try:
            found.append(read(root, run))
        except DamagedRun as error:
            damaged[run] = str(error)
    return newest_first(found), damaged


def newest_first(found: Iterable[PublishedRun]) -> tuple[PublishedRun, ...]:
    """Runs by the time of their publication."""
    return tuple(sorted(found, key=lambda run: (run.created, run.run), reverse=True))


def find(root: Root, run: str | None = None, job: str | None = "scan") -> PublishedRun:
    """A published run by its id, or the newest; of this kind of job, or of any.

    Raises:
        RunError: the id is no run id or not published, or nothing is, or it is of another kind.
        DamagedRun: the run's manifest cannot be understood.
    """
    if run is not None:
        return _of_kind(_named(root, run), job)
    of_kind = [each for each in runs(root) if job in (None, each.job)]
    if not of_kind:
        raise RunError(f"root {root.url!r} holds no published run" + (f" of the job {job!r}" if job else ""))
    return of_kind[0]


def _named(root: Root, run: str) -> PublishedRun:
    check_run_id(run)
    if run in root.folders(paths.RUNS) and root.exists(paths.manifest_path(run)):
        return read(root, run)
    raise unpublished(root, run, marks(root))


def unpublished(root: Root, run: str, ids: Collection[str]) -> RunError:
    """That a run is not published; names those that are."""
    if not ids:
        return RunError(f"run {run!r} is not published: root {root.url!r} holds no published run")
    return RunError(f"run {run!r} is not published in {root.url!r}; {nearest(run, ids)}")


def _of_kind(found: PublishedRun, job: str | None) -> PublishedRun:
    if job not in (None, found.job):
        raise RunError(f"run {found.run!r} is of the job {found.job!r}; this asks for one of {job!r}")
    return found


def marks(root: Root) -> dict[str, str]:
    """The published runs, by one listing: each with what changes when its manifest does. Without one a run is not published."""
    stamps = files.stamps(root, paths.RUNS, MANIFESTS_DEPTH)
    runs = sorted({rel.split("/")[1] for rel in stamps})
    return {run: stamps[path] for run in runs if (path := paths.manifest_path(run)) in stamps}


def read(root: Root, run: str) -> PublishedRun:
    """A published run by its id.

    Raises:
        DamagedRun: its manifest cannot be understood, or is not there any more.
    """
    try:
        told = json.loads(root.read(paths.manifest_path(run)))
        if told["version"] == VERSION:
            return _understood(root, told)
    except FileNotFoundError as error:
        raise DamagedRun(f"run {run!r}: its manifest.json has vanished") from error
    except (KeyError, TypeError, ValueError, IndexError) as error:
        way = f"restore it from a copy, or remove the run: deconvoy rm {run}"
        raise DamagedRun(f"run {run!r}: its manifest.json cannot be understood: {error!r}; {way}") from error
    raise DamagedRun(f"run {run!r}: its manifest.json is of version {told['version']!r}; this deconvoy reads {VERSION}")


def _understood(root: Root, told: Mapping[str, Any]) -> PublishedRun:
    layer_keys = [field.name for field in fields(Layer)]
    totals = told["totals"]
    _, height, width = told.get("input", (0, 0, 0))
    return PublishedRun(
        root=root,
        run=told["run"],
        job=told["job"],
        created=told["created"],
        model=told["model"]["source"],
        corpus=told["corpus"]["source"] if told["corpus"] else "",
        input_height=height,
        input_width=width,
        spec=dict(told["spec"]),
        images=totals["images"],
        rejects=totals["rejects"],
        rejects_by_reason=totals["rejects_by_reason"],
        layers=tuple(Layer(**{key: layer[key] for key in layer_keys}) for layer in told.get("layers", ())),
        tables={
            name: tuple(Part(part["path"], part["bytes"], part["rows"], part["sha256"]) for part in files)
            for name, files in told["tables"].items()
        },
    )
