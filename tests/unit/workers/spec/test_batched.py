"""Specs with a batch size: what auto stands for, how batches shrink, and that identities keep their form."""

import json

import pytest

from workers.kinds import Kind
from workers.spec.kinds import SPECS
from workers.spec.make import make

MODEL = {"model": {"source": "deconvoy://zfnet-mini"}}
ENCODER = "hf-hub://org/clip"
SHARED = ["run", "root", "model", "resources"]
VALUES = {
    Kind.CONCEPTS: {"concepts": {"from_run": "scan", "encoder": ENCODER}},
    Kind.SYNTHESISE: MODEL,
    Kind.INVERT: {**MODEL, "corpus": {"source": "c"}},
}
KEYS = {  # in order
    Kind.CONCEPTS: [*SHARED, "concepts"],
    Kind.SYNTHESISE: [*SHARED, "synthesise"],
    Kind.INVERT: [*SHARED, "corpus", "limits", "decode", "invert"],
}
AUTO = {Kind.CONCEPTS: (16, 256), Kind.SYNTHESISE: (4, 64), Kind.INVERT: (8, 32)}  # on a CPU, and on a GPU
every_kind = pytest.mark.parametrize("kind", VALUES)


def spec_of(kind, batch=None):
    values = VALUES[kind]
    section = {**values.get(kind, {}), **({"batch": batch} if batch else {})}
    return make(SPECS[kind], {**values, "root": "out", kind: section})


@every_kind
def test_auto_stands_for_a_size_of_the_device(kind):
    spec = spec_of(kind)
    assert (spec.resolved("cpu").batch_size, spec.resolved("cuda").batch_size) == AUTO[kind]
    assert spec.resolved("cuda").resources.device == "cuda"
    assert spec_of(kind, 5).resolved("cpu").batch_size == 5


@every_kind
def test_a_smaller_batch_is_half_the_size_and_changes_nothing_else(kind):
    spec, sizes = spec_of(kind, 13), []
    while spec:
        assert spec == spec_of(kind, spec.batch_size)
        sizes.append(spec.batch_size)
        spec = spec.with_smaller_batch()
    assert sizes == [13, 6, 3, 1]


@every_kind
def test_the_keys_and_the_identity_have_only_what_is_given_and_in_order(kind):
    spec = spec_of(kind).resolved("cpu")
    assert list(type(spec).model_fields) == KEYS[kind]
    assert list(spec.model_dump()) == [key for key in KEYS[kind] if key != "decode"]
    identity = spec.identity()
    assert list(identity) == [key for key in KEYS[kind] if key not in {"run", "root", "decode"}]
    assert json.loads(json.dumps(identity))[kind]["batch"] == AUTO[kind][0]
