"""Other people's packages that hide ours. Takes where Python would import from, gives one line about the first one or None."""

from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

OURS = ("service", "jobs", "workers")
HOME = Path(__file__).resolve().parents[1]


def find_shadow() -> str | None:
    """Say which of our packages Python would import from another place than where this one is; None if all are ours."""
    for name in OURS:
        spec = find_spec(name)
        if spec is None:
            return f"the package {name!r} is missing beside {str(HOME / 'deconvoy')!r}; install deconvoy again"
        place = _folder(spec)
        if place != HOME / name:
            return (
                f"{str(place)!r} hides deconvoy's own package {name!r}; "
                "rename it, take its folder off PYTHONPATH, or start deconvoy in another folder"
            )
    return None


def _folder(spec: ModuleSpec) -> Path:
    """The folder of a package, or the file of a module."""
    places = [*(spec.submodule_search_locations or ()), spec.origin or spec.name]
    return Path(places[0]).resolve()
