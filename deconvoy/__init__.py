"""Published runs in Python, for notebooks and dashboards. Takes a root, gives runs, layers, channels, tables and pictures.

    import deconvoy

    atlas = deconvoy.open("deconvoy-demo/atlas")
    atlas.run("demo").layer("relu5").channel(3)  # a notebook shows its patches and projections

Reading computes nothing, writes nothing, and imports neither torch nor Ray. `deconvoy.scan` scans a corpus with a module of your
own. Every error is a `DeconvoyError`.
"""

# The command is in this package too and must start fast, so names are loaded on first use. Type checkers treat any variable of
# this name as true; importing it from `typing` would delay the point from which Ctrl-C is handled.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from deconvoy.atlas import Atlas, Run, open
    from deconvoy.layers import Channel, Layer, Patch
    from deconvoy.pictures import Picture
    from deconvoy.rows import Row
    from deconvoy.scanning import scan
    from workers.errors import (
        DamagedRun,
        DeconvoyError,
        QueryError,
        RootError,
        RunError,
        StoreError,
        Unavailable,
        UsageError,
    )

__all__ = [
    "Atlas",
    "Channel",
    "DamagedRun",
    "DeconvoyError",
    "Layer",
    "Patch",
    "Picture",
    "QueryError",
    "RootError",
    "Row",
    "Run",
    "RunError",
    "StoreError",
    "Unavailable",
    "UsageError",
    "open",
    "scan",
]

_MODULES = {
    "deconvoy.atlas": ("Atlas", "Run", "open"),
    "deconvoy.layers": ("Channel", "Layer", "Patch"),
    "deconvoy.pictures": ("Picture",),
    "deconvoy.rows": ("Row",),
    "deconvoy.scanning": ("scan",),
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'deconvoy' has no attribute {name!r}")
    from importlib import import_module

    from deconvoy.shadows import find_shadow

    if shadow := find_shadow():
        raise ImportError(shadow)
    module = next((module for module, names in _MODULES.items() if name in names), "workers.errors")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return __all__
