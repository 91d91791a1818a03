"""Short names of models and corpora, for people. Takes sources, gives names without paths; two sources may share a name."""

import re
from pathlib import PurePosixPath

from workers import locations
from workers.spec import families

_NO_NAMES = {"model", "weights", "checkpoint", "pytorch_model", "best", "last", "final"}  # of files of weights
_PARTS = {"train", "training", "val", "valid", "validation", "test", "images", "photos", "data"}  # of corpora
_FORMS = re.compile(r"(?:\.(?:tar|zip|gz|parquet|csv|tsv|txt|jsonl?|mp4|mkv|mov|avi|webm))+$", re.IGNORECASE)


def model_name(source: str) -> str:
    """A model's name; with the name of its file of weights, if that says more."""
    first = (source.split() or [""])[0]  # of several checkpoints, all of one network
    name = families.model_of(first) or _code_name(first)
    weights = PurePosixPath(families.weights_file(first) or "").stem
    is_same = _plain(weights).startswith(_plain(name)) or weights.lower() in _NO_NAMES
    return name if not weights or is_same else f"{name} · {weights}"


def corpus_name(source: str) -> str:
    """A corpus's name: the last part of its place, with the part before if the last one only names a part of a data set."""
    place = locations.before_pattern(source).partition("?")[0].rstrip("/")
    parts = [part for part in place.partition("://")[2 if "://" in place else 0].split("/") if part]
    names = [_FORMS.sub("", part).partition("@")[0] or part for part in parts]
    if len(names) > 1 and names[-1].lower() in _PARTS:
        return "/".join(names[-2:])
    return names[-1] if names else source


def _code_name(source: str) -> str:
    place, name = families.code_parts(source)
    return name or PurePosixPath(place).stem


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.lower())
