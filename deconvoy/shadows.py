"""Packages of others that hide ours. Takes Python's import path, gives a message about the first one, or None."""

from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

OURS = ("service", "jobs", "workers")
HOME = Path(__file__).resolve().parents[1]


def find_shadow() -> str | None:
    """A message about the first of our packages that Python would import from elsewhere; None if there is none."""
    for name in OURS:
        spec = find_spec(name)
        if spec is None:
            return f"the package {name!r} is missing from {str(HOME)!r}; reinstall deconvoy"
        folder = _folder(spec)
        if folder != HOME / name:
            return (
                f"{str(folder)!r} shadows deconvoy's own package {name!r}; "
                "rename it, remove its folder from PYTHONPATH, or start deconvoy in another folder"
            )
    return None


def _folder(spec: ModuleSpec) -> Path:
    """The folder of a package, or the file of a module."""
    places = [*(spec.submodule_search_locations or ()), spec.origin or spec.name]
    return Path(places[0]).resolve()
