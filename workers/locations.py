"""Paths, globs and URLs in a spec, as text. Takes one, gives its type or its absolute form; touches no file."""

import re
from pathlib import PurePath

_WILDCARD = re.compile(r"[*?\[]")


def is_pattern(place: str) -> bool:
    """Whether a place is a glob."""
    return _WILDCARD.search(place) is not None


def before_pattern(place: str) -> str:
    """The folder before a glob's first wildcard; a place without wildcards is returned unchanged."""
    wildcard = _WILDCARD.search(place)
    return place[: wildcard.start()].rpartition("/")[0] if wildcard else place


def is_local(place: str) -> bool:
    """Whether a place is on this machine."""
    return "://" not in place or place.startswith(("file://", "local://"))


def absolute(place: str, folder: PurePath) -> str:
    """Resolve a relative path against `folder`; URLs, chained URLs and absolute paths are returned unchanged."""
    return place if "://" in place else str(folder / place)
