"""The scan that another run is about. Takes its id, gives its manifest; raises RunError if it does not fit the run."""

from collections.abc import Iterable

from jobs.run import publish
from workers.errors import RunError, nearest
from workers.kinds import Kind
from workers.store.manifest import Manifest
from workers.store.root import Root


def read_scan(root: Root, run: str) -> Manifest:
    """The manifest of a published scan.

    Raises:
        RunError: the run is not a published scan.
    """
    scan = publish.read_manifest(root, run)
    if scan is None or scan.job is not Kind.SCAN:
        raise RunError(f"from_run {run!r} is not a published scan in {root.url!r}")
    return scan


def require_model(scan: Manifest, fingerprint: str) -> None:
    """Require that a scan has a model.

    Raises:
        RunError: it has another one.
    """
    if scan.model.fingerprint != fingerprint:
        raise RunError(f"from_run {scan.run!r} is a scan of another model, {scan.model.source}")


def require_layers(scan: Manifest, layers: Iterable[str]) -> None:
    """Require that a scan has layers.

    Raises:
        RunError: it lacks one.
    """
    scanned = [layer.name for layer in scan.layers]
    for name in layers:
        if name not in scanned:
            raise RunError(f"from_run {scan.run!r} has no layer {name!r}; {nearest(name, scanned)}")
