"""What a remote cluster cannot read is brought to the root, or refused. Takes a spec and an address, gives a spec."""

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from service.control.hosts import is_here
from workers import files, locations
from workers.errors import UsageError
from workers.sources.registry import source_of
from workers.spec import families
from workers.store import paths
from workers.store.root import Root


def root_of(values: dict[str, Any]) -> Root:
    """The root of a spec.

    Raises:
        UsageError: it names none.
    """
    if "root" not in values:
        raise UsageError("the spec names no root")
    return Root(str(values["root"]))


def check(values: dict[str, Any], address: str) -> None:
    """For a cluster on another machine refuse a local root or corpus: nobody there could read it.

    Raises:
        UsageError: the root is missing, or a place is on this machine and the cluster is not.
    """
    root = root_of(values)
    if is_here(urlsplit(address).hostname or ""):
        return
    if root.is_local:
        raise UsageError(
            f"root {root.url!r} is on this machine, the cluster at {address} is not; give a URL of a bucket"
        )
    corpus = values.get("corpus")
    if isinstance(corpus, dict) and _has_local_places(str(corpus.get("source", ""))):
        raise UsageError(
            f"corpus {corpus.get('source')!r} is on this machine, the cluster at {address} is not; give a URL of a bucket"
        )


def upload(values: dict[str, Any], address: str) -> dict[str, Any]:
    """A spec that the cluster at an address can run: local weights and class names are uploaded, named by their hash.

    Raises:
        UsageError: as `check` does, or a file cannot be read.
    """
    check(values, address)
    if is_here(urlsplit(address).hostname or ""):
        return values
    root, changed = root_of(values), dict(values)
    if isinstance(values.get("model"), dict):
        changed["model"] = _uploaded(values["model"], root)
    if isinstance(values.get("evolve"), dict):
        changed["evolve"] = _checkpoints(values["evolve"], root)
    if isinstance(values.get("models"), list):
        changed["models"] = [_uploaded(model, root) if isinstance(model, dict) else model for model in values["models"]]
    return changed


def _uploaded(model: dict[str, Any], root: Root) -> dict[str, Any]:
    changed = dict(model)
    source = str(model.get("source", ""))
    weights = families.weights_file(source)
    if weights is not None and locations.is_local(weights):
        changed["source"] = families.with_weights(source, _upload(weights, root))
    if model.get("classes") and locations.is_local(str(model["classes"])):
        changed["classes"] = _upload(str(model["classes"]), root)
    return changed


def _checkpoints(evolve: dict[str, Any], root: Root) -> dict[str, Any]:
    """Globs on this machine are files from now on: elsewhere they would match others."""
    patterns = evolve.get("checkpoints")
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        return evolve  # for the spec to refuse
    checkpoints: list[str] = []
    for pattern in patterns:
        local = files.matching(pattern, "evolve.checkpoints") if locations.is_local(pattern) else []
        checkpoints += [_upload(file, root, n) for n, file in enumerate(local, len(checkpoints))] or [pattern]
    return {**evolve, "checkpoints": checkpoints}


def _upload(place: str, root: Root, number: int | None = None) -> str:
    """The file's URL under the root; files that have numbers stay apart where names and bytes are the same."""
    path = Path(place.partition("://")[2] or place)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{place!r} cannot be read: {error.strerror or error}") from error
    digest = hashlib.sha256(data).hexdigest()[:32]
    rel = paths.upload_path(digest if number is None else f"{digest}-{number}", path.name)
    if not root.exists(rel):
        root.put(rel, data)
    return str(root.filesystem.unstrip_protocol(root.path(rel)))


def _has_local_places(corpus: str) -> bool:
    return any(locations.is_local(place) for place in source_of(corpus).places(corpus))
