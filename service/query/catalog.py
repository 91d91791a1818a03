"""Which runs are published. Takes a root, gives what the runs' manifests say; looks at nothing else."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from workers.errors import DamagedRun, QueryError, RunError, nearest
from workers.host import log
from workers.kinds import Kind
from workers.spec.make import check_run_id
from workers.store import files, manifest, paths
from workers.store.manifest import Layer, Manifest, PartFile, SpecSections
from workers.store.root import Root

MANIFESTS_DEPTH = 2  # runs/RUN/manifest.json


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
        spec: the whole spec, as plain values.
        sections: the sections of the spec as values.
        images: images scanned.
        rejects: images not used.
        rejects_by_reason: the same, by reason.
        layers: in the order of the graph.
        tables: files by table.
    """

    root: Root
    run: str
    job: Kind
    created: str
    model: str
    corpus: str
    input_height: int
    input_width: int
    spec: Mapping[str, Any]
    sections: SpecSections
    images: int
    rejects: int
    rejects_by_reason: Mapping[str, int]
    layers: tuple[Layer, ...]
    tables: Mapping[str, tuple[PartFile, ...]]

    @property
    def k(self) -> int:
        """Images kept per channel; 0 for a job that keeps none."""
        return self.sections.scan.k if self.sections.scan else 0

    @property
    def method(self) -> str:
        """How activations were carried down; empty for a job that does not."""
        return self.sections.project.method.value if self.sections.project else ""

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
        raise RunError(f"run {found.run!r} is of the job {found.job.value!r}; this asks for one of {job!r}")
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
        return _run(root, manifest.decode(root.read(paths.manifest_path(run)), run))
    except FileNotFoundError as error:
        raise DamagedRun(f"run {run!r}: its manifest.json has vanished") from error
    except ValueError as error:
        way = f"restore it from a copy, or remove the run: deconvoy rm {run}"
        raise DamagedRun(f"run {run!r}: its manifest.json cannot be understood: {error}; {way}") from error


def _run(root: Root, document: Manifest) -> PublishedRun:
    _, height, width = document.input or (0, 0, 0)
    return PublishedRun(
        root=root,
        run=document.run,
        job=document.job,
        created=document.created,
        model=document.model.source,
        corpus=document.corpus.source if document.corpus else "",
        input_height=height,
        input_width=width,
        spec=document.spec,
        sections=document.sections,
        images=document.totals.images,
        rejects=document.totals.rejects,
        rejects_by_reason=document.totals.rejects_by_reason,
        layers=document.layers,
        tables=document.tables,
    )
