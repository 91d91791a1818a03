"""Places that specs may name. Takes the prefixes that an operator allows and a path or URL, raises an error if it is not allowed.

Only the service checks this; on the command line, the file permissions of the machine apply. The check covers the place that a
spec names. A job follows the symbolic links below that place: whoever can write there has put them there.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from workers import locations
from workers.errors import RefusedError, UsageError
from workers.sources.registry import source_of
from workers.spec import families, keys
from workers.spec.concepts import ConceptsSpec
from workers.spec.evolve import EvolveSpec
from workers.spec.parts import AnyRun, CorpusSpec, ModelSpec

_ESCAPED = re.compile(r"%(?:2e|2f|5c|00)", re.IGNORECASE)
_LOCAL = ("", "file", "local")


@dataclass(frozen=True)
class Allowed:
    """Prefixes under which corpora, networks, weights and class names may lie: folders of this machine, or URLs.

    `s3://bucket/photos` allows that folder and everything below it, but not `s3://bucket/photos-of-others`. A prefix is not
    a pattern. `hf://timm` allows the repositories of an organisation on the Hugging Face Hub.

    Raises:
        UsageError: a prefix is empty, or a relative path.
    """

    prefixes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for prefix in self.prefixes:
            if _find_relative(prefix):
                raise UsageError(f"--allow {prefix!r} is not a valid prefix: give an absolute path or a URL")

    def check(self, place: str, what: str) -> None:
        """Raise an error unless a place is allowed.

        Args:
            place: a path, a glob or an fsspec URL.
            what: what the place is for, such as "corpus"; for the message.

        Raises:
            RefusedError: it could lead elsewhere than it seems to, or lies under no allowed prefix.
        """
        reason = _find_disguise(place) or _find_relative(place)
        if reason:
            raise RefusedError(f"{what} {place!r} is refused: {reason}")
        if not any(_is_below(place, prefix) for prefix in self.prefixes):
            known = ", ".join(self.prefixes) or "none; start the service with --allow PREFIX"
            raise RefusedError(f"{what} {place!r} is refused: it is not under an allowed prefix (allowed: {known})")

    def check_spec(self, spec: AnyRun) -> None:
        """Raise an error unless every place in a spec is allowed. Weights given by name, such as torchvision's, are.

        Raises:
            RefusedError: see `check`.
        """
        for what, place in _places(spec):
            self.check(place, what)


def _places(spec: AnyRun) -> Iterator[tuple[str, str]]:
    """What a spec names, and where. Its parts are found by their type, so that no kind of job is left out."""
    values = [value if isinstance(value, tuple) else (value,) for value in vars(spec).values()]
    parts = [part for value in values for part in value]
    for corpus in (part for part in parts if isinstance(part, CorpusSpec)):
        yield from (("corpus", place) for place in source_of(corpus.source).places(corpus.source, corpus.within))
        if corpus.within:  # a folder, too, may hold lists
            yield "corpus", corpus.within
        yield from (("labels", form) for form in corpus.forms.values() if keys.is_file(form))
        if corpus.label_names:
            yield "label-names file", corpus.label_names
    yield from (place for part in parts if isinstance(part, ModelSpec) for place in _model_places(part))
    yield from (("checkpoint", file) for part in parts if isinstance(part, EvolveSpec) for file in part.checkpoints)
    yield from (place for part in parts if isinstance(part, ConceptsSpec) for place in families.places(part.encoder))


def _model_places(model: ModelSpec) -> Iterator[tuple[str, str]]:
    yield from families.places(model.source)
    if model.classes:
        yield "class-names file", model.classes


def _find_disguise(place: str) -> str | None:
    """Why a place could lead elsewhere than it seems to; None if it could not."""
    if "::" in place:
        return "chained file systems (::) are not allowed"
    if _ESCAPED.search(place) or "\\" in place:
        return "escaped dots and separators are not allowed"
    if any(ord(letter) < ord(" ") for letter in place):
        return "control characters are not allowed"
    if ".." in place.split("/"):
        return "'..' is not allowed"
    parts = urlsplit(place) if "://" in place else None
    if parts and ("@" in parts.netloc or parts.query or parts.fragment):
        return "credentials, queries and fragments are not allowed"
    return None


def _find_relative(place: str) -> str | None:
    if _scheme(place) in _LOCAL and not _path(place).startswith("/"):
        return "give an absolute path: a job may resolve a relative path, or one from ~, differently"
    return None


def _is_below(place: str, prefix: str) -> bool:
    if (_scheme(place) in _LOCAL) != (_scheme(prefix) in _LOCAL):
        return False
    place = locations.before_pattern(place)  # the folder that a glob searches
    if _scheme(prefix) in _LOCAL:
        # A path through a symbolic link lies where the link leads.
        place, root = (os.path.realpath(_path(url) or "/") for url in (place, prefix))
    else:
        place, root = _lower_host(place), _lower_host(prefix.rstrip("/"))
    return place == root or place.startswith(root.rstrip("/") + "/")


def _scheme(place: str) -> str:
    return place.partition("://")[0].lower() if "://" in place else ""


def _path(place: str) -> str:
    return place.partition("://")[2] if "://" in place else place


def _lower_host(url: str) -> str:
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}://{host.lower()}{slash}{path}"
