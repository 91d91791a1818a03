"""Published runs. Takes a root, gives the content of the runs' manifests; of the rest, it reads only which labels they have."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from service.query import default_scan
from service.query.naming import first_source
from workers.errors import DamagedRun, QueryError, RunError, nearest
from workers.host import log
from workers.kinds import Kind
from workers.spec.make import check_run_id
from workers.spec.plain import PlainSpec
from workers.store import files, labels, manifest, paths
from workers.store.facts import EncoderFacts, LayerFacts, PartFile, PreprocessingFacts
from workers.store.labels import GivenLabels
from workers.store.manifest import Manifest, SpecSections
from workers.store.root import Root
from workers.store.tables.shared import LABELS

MANIFESTS_DEPTH = 2  # runs/RUN/manifest.json
_LABELS = " labels "  # in a mark, before the stamp of labels.json


@dataclass(frozen=True)
class PublishedRun:
    """One published run.

    Attributes:
        root: the run's root.
        run: run id.
        job: kind of job: scan, occlude, invert, ...
        created: when it was published, UTC, ISO 8601.
        model, corpus: sources of the model and of the images.
        input_height, input_width: rows and columns of the model's input, pixels.
        spec: the run's specification as stored.
        sections: the same as typed values.
        images, rejects: number of images used, and of those that could not be used.
        rejects_by_reason: the number of rejects by reason.
        passed_over: what the listing of the corpus left out, by reason.
        layers: in the order of the graph.
        tables: files by table.
        depth: the depth that was chosen for its 16-bit images; None if there was nothing to choose.
        relabelled: when it was given other labels, UTC, ISO 8601; None if it has those of its corpus.
        hides_paths: whether pages leave out where its model and corpus are, for people who have no access to these places.
        fingerprint: hash of the network's graph and weights.
        preprocessing: how the network's images were prepared; None for several networks.
        class_names, class_words: names of the network's classes, and more words that find each, separated by commas.
        encoder, patches: the image-text model that embedded channels, and the hash of their patches; empty for other kinds.
    """

    root: Root
    run: str
    job: Kind
    created: str
    model: str
    corpus: str
    input_height: int
    input_width: int
    spec: PlainSpec
    sections: SpecSections
    images: int
    rejects: int
    rejects_by_reason: Mapping[str, int]
    passed_over: Mapping[str, int]
    layers: tuple[LayerFacts, ...]
    tables: Mapping[str, tuple[PartFile, ...]]
    depth: str | None = None
    relabelled: str | None = None
    hides_paths: bool = False
    fingerprint: str = ""
    preprocessing: PreprocessingFacts | None = None
    class_names: tuple[str, ...] = ()
    class_words: tuple[str, ...] = ()
    encoder: EncoderFacts | None = None
    patches: str = ""

    @property
    def k(self) -> int:
        """Top images per channel; 0 for kinds of job that have none."""
        return self.sections.scan.k if self.sections.scan else 0

    @property
    def method(self) -> str:
        """Method of the projections; empty for kinds of job that have none."""
        return str(self.sections.project.method) if self.sections.project else ""

    @property
    def network(self) -> str:
        """The source of the network without its weights; of several checkpoints, the first."""
        return first_source(self.model).partition("?")[0]

    @cached_property
    def mark(self) -> str:
        """A hash that differs if the run is removed and another one is published under its id. Its pictures have it."""
        return hashlib.sha256(f"{self.run} {self.created}".encode()).hexdigest()[:8]

    @cached_property
    def version(self) -> str:
        """A hash that also differs if the run is given other labels."""
        labels = [self.relabelled or "", *(part.sha256 for part in self.tables.get(LABELS.name, ()))]
        return hashlib.sha256(" ".join([self.mark, *labels]).encode()).hexdigest()[:16]

    @cached_property
    def layers_by_index(self) -> Mapping[int, LayerFacts]:
        """The layers by their index in the graph."""
        return {layer.index: layer for layer in self.layers}

    def layer(self, name: str) -> LayerFacts:
        """A layer by its name.

        Raises:
            QueryError: the run has no such layer.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = [layer.name for layer in self.layers]
        way_out = nearest(name, names) if names else f"it is of kind {str(self.job)!r}"
        raise QueryError(f"run {self.run!r} has no layer {name!r}; {way_out}")


def runs(root: Root) -> tuple[PublishedRun, ...]:
    """All published runs, the newest first. A run with a damaged manifest is logged and left out.

    Raises:
        DamagedRun: all manifests are damaged.
    """
    published, damaged = readable(root)
    if damaged and not published:
        raise DamagedRun(next(iter(damaged.values())))
    for problem in damaged.values():
        log.Log().say(f"{problem}; the run is left out", log.WARNING)
    return published


def require_runs(root: Root) -> tuple[PublishedRun, ...]:
    """All published runs, the newest first; at least one.

    Raises:
        RunError: no run is published.
        DamagedRun: all manifests are damaged.
    """
    published = runs(root)
    if not published:
        raise RunError(f"root {root.url!r} has no published runs")
    return published


def readable(root: Root) -> tuple[tuple[PublishedRun, ...], Mapping[str, str]]:
    """The published runs whose manifests can be read, the newest first, and what is wrong with the others, by run id."""
    published, damaged = [], {}
    for run, mark in marks(root).items():
        try:
            published.append(read(root, run, has_labels=has_labels(mark)))
        except DamagedRun as error:
            damaged[run] = str(error)
    return newest_first(published), damaged


def newest_first(published: Iterable[PublishedRun]) -> tuple[PublishedRun, ...]:
    """Runs sorted by their time of publication, the newest first."""
    return tuple(sorted(published, key=lambda run: (run.created, run.run), reverse=True))


def find(root: Root, run: str | None = None, job: str | None = "scan") -> PublishedRun:
    """A published run by its id; of one kind of job, or of any if `job` is None.

    Without an id, it is the root's default scan if one is set and scans are asked for; otherwise, the newest run.

    Raises:
        RunError: the id is not valid or not published, the run is of another kind, or no run of the kind is published.
        DamagedRun: the run's manifest cannot be read.
        DamagedFile: the root's default cannot be read.
    """
    if run is not None:
        return _require_kind(_read_published(root, run), job)
    if job == Kind.SCAN and (chosen := find_default(root)):
        return chosen
    return of_kind(root, job)[0]


def find_default(root: Root) -> PublishedRun | None:
    """The root's default scan, if one is set.

    Raises:
        RunError: it is no longer published.
        DamagedRun: its manifest cannot be read.
        DamagedFile: the root's default cannot be read.
    """
    chosen = default_scan.read(root)
    if chosen is None:
        return None
    try:
        return find(root, chosen)
    except RunError as error:
        raise RunError(f"the root's default scan cannot be used: {error}; {default_scan.WAY_OUT}") from error


def of_kind(root: Root, job: str | None) -> tuple[PublishedRun, ...]:
    """The published runs of one kind of job, or of any if `job` is None, the newest first; at least one.

    Raises:
        RunError: no run of the kind is published.
        DamagedRun: all manifests are damaged.
    """
    matching = tuple(published for published in runs(root) if job in (None, published.job))
    if not matching:
        raise RunError(f"root {root.url!r} has no published runs" + (f" of kind {job!r}" if job else ""))
    return matching


def _read_published(root: Root, run: str) -> PublishedRun:
    check_run_id(run)
    if run in root.folders(paths.RUNS) and root.exists(paths.manifest_path(run)):
        return read(root, run)
    raise unpublished(root, run, marks(root))


def unpublished(root: Root, run: str, ids: Collection[str]) -> RunError:
    """The error for a run that is not published; it names runs that are."""
    if not ids:
        return RunError(f"run {run!r} is not published: root {root.url!r} has no published runs")
    return RunError(f"run {run!r} is not published in {root.url!r}; {nearest(run, ids)}")


def _require_kind(run: PublishedRun, job: str | None) -> PublishedRun:
    if job not in (None, run.job):
        raise RunError(f"run {run.run!r} is of kind {run.job.value!r}; expected {job!r}")
    return run


def marks(root: Root) -> dict[str, str]:
    """The ids of all published runs, each with a mark that changes when its manifest or its labels change; one listing."""
    stamps = files.stamps(root, paths.RUNS, MANIFESTS_DEPTH)
    runs = sorted({rel.split("/")[1] for rel in stamps})
    return {
        run: f"{stamps[path]}{_LABELS}{given}" if (given := stamps.get(paths.labels_path(run))) else stamps[path]
        for run in runs
        if (path := paths.manifest_path(run)) in stamps
    }


def has_labels(mark: str) -> bool:
    """Whether a run with this mark has a labels.json."""
    return _LABELS in mark


def read(root: Root, run: str, *, has_labels: bool = True) -> PublishedRun:
    """A published run by its id.

    Args:
        root: the root.
        run: run id.
        has_labels: False if it is known to have no labels.json, which saves a request.

    Raises:
        DamagedRun: its manifest or labels.json cannot be read, or the manifest no longer exists.
    """
    try:
        document = manifest.decode(root.read(paths.manifest_path(run)), run)
    except FileNotFoundError as error:
        raise DamagedRun(
            f"run {run!r}: its manifest.json is missing: the run was removed in the meantime, or the file is lost"
        ) from error
    except ValueError as error:
        way_out = f"restore it from a backup, or remove the run with `deconvoy rm {run} --root ROOT`"
        raise DamagedRun(f"run {run!r}: its manifest.json cannot be parsed: {error}; {way_out}") from error
    return _run(root, document, labels.read_given(root, run, document.created) if has_labels else None)


def _run(root: Root, document: Manifest, given: GivenLabels | None) -> PublishedRun:
    _, height, width = document.input or (0, 0, 0)
    return PublishedRun(
        root=root,
        run=document.run,
        job=document.job,
        created=document.created,
        model=document.model.source,
        fingerprint=document.model.fingerprint,
        preprocessing=document.model.preprocessing,
        class_names=document.model.class_names,
        class_words=document.model.class_words,
        encoder=document.encoder,
        patches=document.patches,
        corpus=document.corpus.source if document.corpus else "",
        input_height=height,
        input_width=width,
        spec=document.spec,
        sections=document.sections,
        images=document.totals.images,
        rejects=document.totals.rejects,
        rejects_by_reason=document.totals.rejects_by_reason,
        passed_over=document.totals.passed_over,
        layers=document.layers,
        tables={**document.tables, **({LABELS.name: given.parts} if given else {})},
        depth=document.depth,
        relabelled=given.created if given else None,
    )
