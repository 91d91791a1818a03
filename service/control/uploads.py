"""Local files of a spec. Takes a spec and an address, uploads files to the root, gives a spec that the cluster can run."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from service.control.hosts import is_here
from workers import files, locations
from workers.errors import UsageError
from workers.models import snapshots
from workers.models.encoders import encoder as encoders
from workers.sources.registry import source_of
from workers.spec import families, keys
from workers.store import paths
from workers.store.root import Root


def root_of(values: dict[str, Any]) -> Root:
    """The root of a spec.

    Raises:
        UsageError: the spec has no root.
    """
    if "root" not in values:
        raise UsageError("the spec has no root; set the key root")
    return Root(str(values["root"]))


def check(values: dict[str, Any], address: str) -> None:
    """Check that a cluster can read the root and the corpus: on another machine, neither may be local.

    Raises:
        UsageError: the spec has no root, or its root or corpus is on this machine and the cluster is not.
    """
    root = root_of(values)
    if is_here(urlsplit(address).hostname or ""):
        return
    if root.is_local:
        raise UsageError(f"root {root.url!r} is on this machine, but the cluster at {address} is not; use a bucket URL")
    corpus = values.get("corpus")
    if isinstance(corpus, dict) and _has_local_places(str(corpus.get("source", "")), corpus.get("within")):
        raise UsageError(
            f"corpus {corpus.get('source')!r} is on this machine, but the cluster at {address} is not; use a bucket URL"
        )


def upload(values: dict[str, Any], address: str) -> dict[str, Any]:
    """A spec that the cluster can run: local snapshots, weights, class names and labels are uploaded to the root.

    Raises:
        UsageError: `check` fails, or a file cannot be read.
    """
    check(values, address)
    if is_here(urlsplit(address).hostname or ""):
        return values
    root, changed = root_of(values), dict(values)
    if isinstance(values.get("model"), dict):
        changed["model"] = _upload_model(values["model"], root)
    if isinstance(values.get("corpus"), dict):
        changed["corpus"] = _upload_labels(values["corpus"], root)
    if isinstance(values.get("evolve"), dict):
        changed["evolve"] = _upload_checkpoints(values["evolve"], root)
    if isinstance(values.get("concepts"), dict):
        changed["concepts"] = _upload_encoder(values["concepts"], root)
    if isinstance(values.get("models"), list):
        changed["models"] = [
            _upload_model(model, root) if isinstance(model, dict) else model for model in values["models"]
        ]
    return changed


def _upload_model(model: dict[str, Any], root: Root) -> dict[str, Any]:
    changed = dict(model)
    source = str(model.get("source", ""))
    snapshot, weights = families.snapshot_folder(source), families.weights_file(source)
    if snapshot is not None and locations.is_local(snapshot):
        source = changed["source"] = families.with_model(source, _upload_snapshot(snapshot, root, snapshots.FILES))
    if weights is not None and locations.is_local(weights):
        changed["source"] = families.with_weights(source, _upload_file(weights, root))
    if model.get("classes") and locations.is_local(str(model["classes"])):
        changed["classes"] = _upload_file(str(model["classes"]), root)
    return changed


def _upload_encoder(concepts: dict[str, Any], root: Root) -> dict[str, Any]:
    """Replace a local folder of an image-text model by the URL of an uploaded one."""
    source = str(concepts.get("encoder", ""))
    snapshot = families.snapshot_folder(source)
    if snapshot is None or not locations.is_local(snapshot):
        return concepts
    return concepts | {"encoder": families.with_model(source, _upload_snapshot(snapshot, root, encoders.FILES))}


def _upload_labels(corpus: dict[str, Any], root: Root) -> dict[str, Any]:
    """Replace local files of labels, groups, splits and names by the URLs of uploaded ones."""
    given = {key: str(corpus[key]) for key in (*keys.FORM_KEYS, "label_names") if corpus.get(key)}
    local = {key: place for key, place in given.items() if key == "label_names" or keys.is_file(place)}
    return corpus | {key: _upload_file(place, root) for key, place in local.items() if locations.is_local(place)}


def _upload_checkpoints(evolve: dict[str, Any], root: Root) -> dict[str, Any]:
    """Replace local globs by the URLs of the files that they match on this machine."""
    patterns = evolve.get("checkpoints")
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        return evolve  # the spec refuses it
    checkpoints: list[str] = []
    for pattern in patterns:
        matches = files.matching(pattern, "evolve.checkpoints") if locations.is_local(pattern) else []
        checkpoints += [_upload_file(file, root, n) for n, file in enumerate(matches, len(checkpoints))] or [pattern]
    return {**evolve, "checkpoints": checkpoints}


def _upload_snapshot(place: str, root: Root, names: Sequence[str]) -> str:
    """Upload those files of a snapshot that are read, and give the URL of their folder under the root, named by their hash."""
    present = [name for name in names if (_local(place) / name).exists()] or [snapshots.CONFIG]
    contents = {name: _read(f"{place.rstrip('/')}/{name}") for name in present}
    digest = hashlib.sha256(b"".join(hashlib.sha256(data).digest() for data in contents.values())).hexdigest()[:32]
    for name, data in contents.items():
        if not root.exists(rel := paths.upload_path(digest, name)):
            root.put(rel, data)
    return str(root.filesystem.unstrip_protocol(root.path(paths.upload_path(digest, ""))))


def _upload_file(place: str, root: Root, number: int | None = None) -> str:
    """Upload a file and give its URL under the root. Numbers keep files apart that have the same name and bytes."""
    data, name = _read(place), _local(place).name
    digest = hashlib.sha256(data).hexdigest()[:32]
    rel = paths.upload_path(digest if number is None else f"{digest}-{number}", name)
    if not root.exists(rel):
        root.put(rel, data)
    return str(root.filesystem.unstrip_protocol(root.path(rel)))


def _local(place: str) -> Path:
    return Path(place.partition("://")[2] or place)


def _read(place: str) -> bytes:
    try:
        return _local(place).read_bytes()
    except OSError as error:
        raise UsageError(f"{place!r} cannot be read: {error.strerror or error}") from error


def _has_local_places(corpus: str, within: object) -> bool:
    places = [*source_of(corpus).places(corpus), *([str(within)] if within else [])]
    return any(map(locations.is_local, places))
