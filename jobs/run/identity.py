"""Run ids and what they are pinned to. Takes a spec and a listing, gives the pinned manifest or the reason for refusing."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from jobs.run import decoding
from workers.corpus.manifest import Listing
from workers.errors import RunError
from workers.host import log
from workers.models.model import Model
from workers.spec import families
from workers.spec.differences import differences
from workers.spec.kinds import kind_of
from workers.spec.make import check_run_id, slug
from workers.spec.parts import JobSpec, NetworkSpec
from workers.store import paths
from workers.store.documents import PIN, Pin
from workers.store.manifest import Manifest
from workers.store.root import Root

PinnedSpec = TypeVar("PinnedSpec", bound=NetworkSpec)


def run_id(spec: NetworkSpec) -> str:
    """The spec's run id, or a new one from model, corpus (without one, the kind of job) and time.

    Raises:
        RunError: the spec's run id is not valid.
    """
    if spec.run:
        return check_run_id(spec.run)
    model = families.model_of(spec.model.source)
    second = Path(spec.corpus.source.rstrip("/")).name if isinstance(spec, JobSpec) else kind_of(spec)
    return f"{slug(model, second) or 'run'}-{datetime.now(UTC):%Y%m%dt%H%M%Sz}"


def pin(root: Root, run: str, spec: JobSpec, listing: Listing, say: Callable[[str], None] = lambda _: None) -> Pin:
    """What the run is pinned to: the choices of an earlier attempt with the same spec, else those of the current listing.

    Args:
        root: where the run is pinned.
        run: run id.
        spec: the spec.
        listing: the current content of the corpus.
        say: receives what is chosen.
    """
    path = paths.spec_path(run)
    is_pinned = root.exists(path)
    before = _read_pin(root, path) if is_pinned else None
    if before and before.identity == spec.identity():
        return before
    chosen = Pin(spec.identity(), listing.commit(root), decoding.choose_depth(spec, listing, say))
    data = PIN.encode(chosen)
    if is_pinned:
        root.put(path, data)
    elif not root.create(path, data):
        return pin(root, run, spec, listing, say)
    return chosen


def pinned(
    root: Root,
    run: str,
    spec: PinnedSpec,
    listing: Listing | None,
    before: Manifest | None,
    say: Callable[[str], None],
) -> tuple[PinnedSpec, str]:
    """The spec with what was chosen for its corpus and its memory, and the path of the run's corpus manifest, if it has one.

    Args:
        root: where the run is pinned.
        run: run id.
        spec: the spec.
        listing: the current content of the corpus; None if the job has none. Then nothing needs to be pinned.
        before: the published manifest of the run, if there is one.
        say: receives what is chosen.
    """
    spec = _with_batch_of(spec, before)
    if listing is None or not isinstance(spec, JobSpec):
        return spec, ""
    chosen = pin_of(before) or pin(root, run, spec, listing, say)
    return spec.with_depth(chosen.depth), chosen.manifest


def _with_batch_of(spec: PinnedSpec, published: Manifest | None) -> PinnedSpec:
    """The spec with the reduced batch of its published run, if that had one."""
    batch = published and published.reduced_batch
    smaller: PinnedSpec | None = spec
    while batch and smaller is not None and smaller.batch_size > batch:
        smaller = smaller.with_smaller_batch()
    return smaller or spec


def pin_of(published: Manifest | None) -> Pin | None:
    """What a published run is pinned to; None if it is not published, or has no corpus."""
    if published is None or published.listing is None:
        return None
    return Pin(published.identity, published.listing, published.depth)


def _read_pin(root: Root, path: str) -> Pin | None:
    """The pin in a spec.json; None if the file is damaged. Shard results are reused even without it."""
    try:
        return PIN.decode(root.read(path))
    except ValueError:
        log.Log().say(f"{root.path(path)} is damaged; the run uses the current listing of its corpus", log.WARNING)
        return None


def require_same_run(
    root: Root, published: Manifest, requested: tuple[NetworkSpec, Model], listing: Listing | None
) -> None:
    """Refuse a run id that is published, unless the same run is requested.

    Args:
        root: where the run is published.
        published: its manifest.
        requested: the spec, with the device resolved, and the network that the spec now names.
        listing: the current content of the corpus; None if the job has none.

    Raises:
        RunError: the spec differs, or the weights or the corpus have changed.
    """
    spec, model = requested
    run, listed = published.run, published.listing
    check_spec(run, published.identity, spec.identity())
    check_weights(run, spec.model.source, published.model.fingerprint, model.fingerprint)
    if listing is not None and (listed is None or not listing.matches(root, listed)):
        raise RunError(f"run {run!r} was already published, and its corpus has changed since; choose another --run")


def check_spec(run: str, before: object, now: object) -> None:
    """Refuse a spec that differs from that of a published run.

    Raises:
        RunError: the specs differ; it names the keys that do.
    """
    if before != now:
        way_out = "choose another --run, which reuses all results that fit"
        raise RunError(
            f"run {run!r} was already published with a different spec ({differences(before, now)}); {way_out}"
        )


def check_weights(run: str, source: str, before: str, now: str) -> None:
    """Refuse weights that differ from those of a published run: the file may have been overwritten.

    Raises:
        RunError: the fingerprints differ.
    """
    if before != now:
        raise RunError(
            f"run {run!r} was already published, and the weights of {source!r} have changed since; choose another --run"
        )
