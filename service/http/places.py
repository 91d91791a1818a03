"""Places that others may name. Takes the prefixes that an operator allows and a path or URL, says yes or why not.

Only the service asks: who types a command on a machine may read there what the machine lets them read. What is asked about is the
place that a spec names. Links that lie below it are followed when a job lists it, as whoever may write there has put them.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from workers import locations
from workers.errors import RefusedError, UsageError
from workers.sources.registry import source_of
from workers.spec import families

_ESCAPED = re.compile(r"%(?:2e|2f|5c|00)", re.IGNORECASE)
_LOCAL = ("", "file", "local")


@dataclass(frozen=True)
class Allowed:
    """Prefixes under which corpora, weights and class names may lie: folders of this machine, or URLs.

    `s3://bucket/photos` allows that folder and what is below it, not `s3://bucket/photos-of-others`. It is taken as
    it is written, not as a pattern.

    Raises:
        UsageError: a prefix is empty, or a relative path.
    """

    prefixes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for prefix in self.prefixes:
            if _adrift(prefix):
                raise UsageError(f"--allow {prefix!r} is no prefix: give a folder by its whole path, or a URL")

    def check(self, place: str, what: str) -> None:
        """Let a place pass.

        Args:
            place: a path, a glob or an fsspec URL.
            what: what it is, for the message.

        Raises:
            RefusedError: it is written so that it could lead elsewhere, or lies under no allowed prefix.
        """
        reason = _crooked(place) or _adrift(place)
        if reason:
            raise RefusedError(f"{what} {place!r} is refused: {reason}")
        if not any(_below(place, prefix) for prefix in self.prefixes):
            known = ", ".join(self.prefixes) or "none is: start the service with --allow PREFIX"
            raise RefusedError(f"{what} {place!r} is refused: it is under no allowed prefix (allowed: {known})")

    def check_spec(self, spec: Mapping[str, Any]) -> None:
        """Let every place in a spec pass; weights that torchvision or this package have by name are no places.

        Raises:
            RefusedError: see `check`.
        """
        for what, place in _places(spec):
            self.check(place, what)


def _places(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if spec.get("corpus"):
        corpus = str(spec["corpus"]["source"])
        yield from (("corpus", place) for place in source_of(corpus).places(corpus))
    for model in [spec["model"]] if spec.get("model") else spec.get("models", ()):
        weights = families.weights_file(str(model["source"]))
        if weights is not None:
            yield "weights", weights
        if model.get("classes"):
            yield "class names", str(model["classes"])
    for checkpoint in (spec.get("evolve") or {}).get("checkpoints", ()):
        yield "checkpoint", str(checkpoint)


def _crooked(place: str) -> str | None:
    """What in a place could lead elsewhere than it seems to."""
    if "::" in place:
        return "chains of file systems (::) are not taken"
    if _ESCAPED.search(place) or "\\" in place:
        return "escaped dots and separators are not taken"
    if any(ord(letter) < ord(" ") for letter in place):
        return "control characters are not taken"
    if ".." in place.split("/"):
        return "'..' is not taken"
    parts = urlsplit(place) if "://" in place else None
    if parts and ("@" in parts.netloc or parts.query or parts.fragment):
        return "credentials, queries and fragments are not taken"
    return None


def _adrift(place: str) -> str | None:
    if _scheme(place) in _LOCAL and not _path(place).startswith("/"):
        return "a folder is given by its whole path: a relative one, or one from ~, is another for the process that reads it"
    return None


def _below(place: str, prefix: str) -> bool:
    if (_scheme(place) in _LOCAL) != (_scheme(prefix) in _LOCAL):
        return False
    place = locations.before_pattern(place)  # a folder that is there
    if _scheme(prefix) in _LOCAL:
        # A place that is named through a link is where the link leads.
        place, root = (os.path.realpath(_path(each) or "/") for each in (place, prefix))
    else:
        place, root = _with_small_host(place), _with_small_host(prefix.rstrip("/"))
    return place == root or place.startswith(root.rstrip("/") + "/")


def _scheme(place: str) -> str:
    return place.partition("://")[0].lower() if "://" in place else ""


def _path(place: str) -> str:
    return place.partition("://")[2] if "://" in place else place


def _with_small_host(url: str) -> str:
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}://{host.lower()}{slash}{path}"
