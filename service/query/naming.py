"""Short names of models and corpora, for people. Takes sources, gives names without paths; two sources may share a name."""

import re
from pathlib import PurePosixPath

from workers.spec import families

_NO_NAMES = {"model", "weights", "checkpoint", "pytorch_model", "best", "last", "final"}  # of files of weights
_PARTS = {"train", "training", "val", "valid", "validation", "test", "images", "photos", "data"}  # of corpora
_REVISIONED = ("hf", "hf-hub")  # schemes of places that end in @REVISION
_PATTERN = re.compile(r"(?:^|/)[^/]*[*?\[{].*")  # from the first part with a wildcard on
_FORMS = re.compile(r"(?:\.(?:tar|zip|gz|parquet|csv|tsv|txt|jsonl?|mp4|mkv|mov|avi|webm))+$", re.IGNORECASE)


def model_name(source: str) -> str:
    """A model's name; with the name of its file of weights, if that says more."""
    first = first_source(source)
    name = families.model_of(first) or _code_name(first)
    weights = PurePosixPath(families.weights_file(first) or "").stem
    is_same = _plain(weights).startswith(_plain(name)) or weights.lower() in _NO_NAMES
    return name if not weights or is_same else f"{name} · {weights}"


def encoder_name(source: str) -> str:
    """The name of an image-text model."""
    return families.model_of(source)


def first_source(source: str) -> str:
    """The first of several sources that are joined by spaces; a single one, whose path may have spaces, as it is."""
    parts = source.split()
    return parts[0] if parts and all(families.find_scheme(part) for part in parts) else source


def corpus_name(source: str, *, is_short: bool = False) -> str:
    """A corpus's name: the last part of its place.

    Args:
        source: source of the corpus.
        is_short: whether only this part may be shown; by default, one that only names a part of a data set, such as `train`,
            comes with the part before it.
    """
    scheme, _, rest = source.partition("://") if "://" in source else ("", "", source)
    parts = [part for part in _PATTERN.split(rest)[0].partition("?")[0].split("/") if part]
    if scheme in _REVISIONED and parts:
        parts = [part.partition("@")[0] for part in parts]
    names = [_FORMS.sub("", part) or part for part in parts]
    if len(names) > 1 and names[-1].lower() in _PARTS and not is_short:
        return "/".join(names[-2:])
    return names[-1] if names else scheme or "corpus"


def _code_name(source: str) -> str:
    place, name = families.code_parts(source)
    return name or PurePosixPath(place).stem


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.lower())
