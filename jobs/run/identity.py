"""What a run id stands for. Takes a spec and a listing, pins an id to them, or says why it stands for something else."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workers.corpus.manifest import Listing
from workers.errors import RunError
from workers.host import log
from workers.models.model import Model
from workers.spec import families
from workers.spec.make import check_run_id, slug
from workers.spec.parts import JobSpec
from workers.store import paths
from workers.store.documents import PIN, Pin
from workers.store.manifest import Manifest
from workers.store.root import Root


def run_id(spec: JobSpec) -> str:
    """The spec's run id, or one made from model, corpus and time.

    Raises:
        RunError: it is no run id.
    """
    if spec.run:
        return check_run_id(spec.run)
    model = families.model_of(spec.model.source)
    corpus = Path(spec.corpus.source.rstrip("/")).name
    return f"{slug(model, corpus) or 'run'}-{datetime.now(UTC):%Y%m%dt%H%M%Sz}"


def pin(root: Root, run: str, spec: JobSpec, listing: Listing) -> str:
    """The manifest that the run is pinned to: an earlier attempt's with the same spec, else today's."""
    path = paths.spec_path(run)
    is_pinned = root.exists(path)
    before = _read_pin(root, path) if is_pinned else None
    if before and before.identity == _identity(spec):
        return before.manifest
    committed = listing.commit(root)
    data = PIN.encode(Pin(_identity(spec), committed))
    if is_pinned:
        root.put(path, data)
    elif not root.create(path, data):
        return pin(root, run, spec, listing)
    return committed


def _read_pin(root: Root, path: str) -> Pin | None:
    """What a run is pinned to. A file that cannot be read pins nothing: the run's shards are found anyway."""
    try:
        return PIN.decode(root.read(path))
    except ValueError:
        log.Log().say(f"{root.path(path)} is damaged; the run is pinned to today's list of its corpus", log.WARNING)
        return None


def check_same(root: Root, published: Manifest, asked: tuple[JobSpec, Model], listing: Listing) -> None:
    """Let a published run be asked for again.

    Args:
        root: where it is.
        published: its manifest.
        asked: the spec, with the device resolved, and the network that it names now.
        listing: what the corpus holds now.

    Raises:
        RunError: it was published with another spec, or its weights or its corpus have changed.
    """
    spec, model = asked
    run, listed = published.run, published.listing
    if published.identity != _identity(spec):
        raise RunError(f"run {run!r} is published with another spec; give another --run")
    check_weights(run, spec.model.source, published.model.fingerprint, model.fingerprint)
    if listed is None or not listing.same_as(root, listed):
        raise RunError(f"run {run!r} is published and its corpus has changed since; give another --run")


def check_weights(run: str, source: str, before: str, now: str) -> None:
    """Refuse weights that are not those of a published run any more: a file may be written over.

    Raises:
        RunError: they are others.
    """
    if before != now:
        raise RunError(f"run {run!r} is published and the weights of {source!r} have changed since; give another --run")


def _identity(spec: JobSpec) -> Any:  # noqa: ANN401 - JSON
    return json.loads(json.dumps(spec.identity()))
