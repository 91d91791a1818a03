"""Places that a spec names, as text. Takes a path, a glob or an fsspec URL, says what it is; touches no file."""

import re
from pathlib import PurePath

_SIGN = re.compile(r"[*?\[]")


def is_pattern(place: str) -> bool:
    """Whether a place is a glob."""
    return _SIGN.search(place) is not None


def before_pattern(place: str) -> str:
    """The folder that a glob's first sign lies in; a place without signs as it is."""
    sign = _SIGN.search(place)
    return place[: sign.start()].rpartition("/")[0] if sign else place


def is_local(place: str) -> bool:
    """Whether a place is on this machine."""
    return "://" not in place or place.startswith(("file://", "local://"))


def absolute(place: str, folder: PurePath) -> str:
    """A relative path with `folder` before it; URLs, chains of them and absolute paths as they are."""
    return place if "://" in place or "::" in place else str(folder / place)
