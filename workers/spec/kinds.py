"""The spec of each kind of job. Takes a kind, gives its class of spec, and the other way round.

The file `workers/spec/KIND.py` defines the spec of a kind and names its class `SPEC`.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module

from workers.errors import SpecError, nearest
from workers.kinds import Kind
from workers.spec.parts import AnyRun
from workers.spec.scan import RunSpec


def _spec_of(kind: Kind) -> type[AnyRun]:
    spec: type[AnyRun] = import_module(f"workers.spec.{kind}").SPEC
    return spec


SPECS: Mapping[Kind, type[AnyRun]] = {kind: _spec_of(kind) for kind in Kind}
_KINDS = {spec: kind for kind, spec in SPECS.items()}


def kind_of(spec: AnyRun) -> Kind:
    """The kind of job that a spec describes."""
    return _KINDS[type(spec)]


def kind_named(word: str) -> Kind:
    """The kind of job of this name.

    Raises:
        SpecError: there is none.
    """
    if word not in SPECS:
        raise SpecError([f"there is no kind of job {word!r}; {nearest(word, SPECS)}"])
    return Kind(word)


def kind_with(keys: Iterable[str]) -> Kind:
    """The kind of job whose spec has one of these top-level keys that no scan has; a scan if there is no such key."""
    shared = RunSpec.model_fields.keys()
    own = {key: kind for kind, spec in SPECS.items() for key in spec.model_fields.keys() - shared}
    return next((own[key] for key in keys if key in own), Kind.SCAN)
