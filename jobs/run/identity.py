"""What a run id stands for. Takes a spec and a listing, pins an id to them, or says why it stands for something else."""

import json
from collections.abc import Mapping
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
from workers.store import documents, paths
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
    before = _pinned(root, run)
    if before and before["identity"] == _identity(spec):
        return str(before["manifest"])
    committed = listing.commit(root)
    data = documents.pin(_identity(spec), committed)
    if before is not None:
        root.put(path, data)
    elif not root.create(path, data):
        return pin(root, run, spec, listing)
    return committed


def _pinned(root: Root, run: str) -> Mapping[str, Any] | None:
    """What a run is pinned to; None if to nothing yet. A file that cannot be read pins nothing: its shards are found anyway."""
    path = paths.spec_path(run)
    if not root.exists(path):
        return None
    try:
        told = json.loads(root.read(path))
        if told["identity"] and told["manifest"]:
            return dict(told)
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    log.Log().say(f"{root.path(path)} is damaged; the run is pinned to today's list of its corpus", log.WARNING)
    return {}


def check_same(root: Root, told: Mapping[str, Any], asked: tuple[JobSpec, Model], listing: Listing) -> None:
    """Let a published run be asked for again.

    Args:
        root: where it is.
        told: its manifest.json.
        asked: the spec, with the device resolved, and the network that it names now.
        listing: what the corpus holds now.

    Raises:
        RunError: it was published with another spec, or its weights or its corpus have changed.
    """
    spec, model = asked
    if told["identity"] != _identity(spec):
        raise RunError(f"run {told['run']!r} is published with another spec; give another --run")
    check_weights(told["run"], spec.model.source, told["model"]["fingerprint"], model.fingerprint)
    if not listing.matches(root, told["corpus"]["manifest"]):
        raise RunError(f"run {told['run']!r} is published and its corpus has changed since; give another --run")


def check_weights(run: str, source: str, before: str, now: str) -> None:
    """Refuse weights that are not those of a published run any more: a file may be written over.

    Raises:
        RunError: they are others.
    """
    if before != now:
        raise RunError(f"run {run!r} is published and the weights of {source!r} have changed since; give another --run")


def _identity(spec: JobSpec) -> Any:  # noqa: ANN401 - JSON
    return json.loads(json.dumps(spec.identity()))
