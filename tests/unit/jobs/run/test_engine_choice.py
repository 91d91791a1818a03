"""The engine of a scan: auto compiles for large corpora, whatever is left of them to scan."""

import pytest
import torch

from jobs.run import engine_choice
from tests.support.networks import seeded
from workers.core.graph import trace
from workers.core.network import Network
from workers.errors import SpecError
from workers.spec.parts import ResourcesSpec
from workers.spec.scan import Engine, make_spec

SIDE = 32


def spec(name: str, device: str = "cpu", precision: str = "float32"):
    values = {"root": "r", "model": {"source": "deconvoy://zfnet-mini"}, "corpus": {"source": "c"}}
    return make_spec(values | {"scan": {"engine": name}, "resources": {"precision": precision}}).resolved(device)


@pytest.fixture(scope="module")
def network() -> Network:
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 5, groups=2)
    )
    return Network(trace(seeded(module).eval(), (SIDE, SIDE)))


def test_multiplications_are_counted_up_to_a_node(network):
    [first, _, last] = network.layers
    assert network.multiplications(first.node) == 3 * 3 * 3 * 8 * 15 * 15
    assert network.multiplications(last.node) == 3 * 3 * 3 * 8 * 15 * 15 + 5 * 5 * 4 * 4 * 11 * 11


def test_auto_compiles_if_the_corpus_is_large_and_there_is_a_compiler(network, monkeypatch):
    monkeypatch.setattr("workers.actors.engine.has_compiler", lambda _: True)
    enough = int(engine_choice.LARGE / network.multiplications(network.layers[-1].node)) + 1
    assert engine_choice.choose(spec("auto"), network, network.layers, enough) is Engine.COMPILED
    assert engine_choice.choose(spec("auto"), network, network.layers, enough - 1) is Engine.EAGER
    assert engine_choice.choose(spec("auto"), network, network.layers[:1], enough) is Engine.EAGER
    monkeypatch.setattr("workers.actors.engine.has_compiler", lambda _: False)
    assert engine_choice.choose(spec("auto"), network, network.layers, enough) is Engine.EAGER


def test_auto_never_compiles_on_a_gpu_or_in_half_precision(network, monkeypatch):
    monkeypatch.setattr("workers.actors.engine.has_compiler", lambda _: True)
    for chosen in (spec("auto", "cuda"), spec("auto", precision="bfloat16")):
        assert engine_choice.choose(chosen, network, network.layers, 10**15) is Engine.EAGER


@pytest.mark.parametrize("name", ["eager", "compiled"])
def test_an_engine_that_is_given_is_used(network, name):
    assert engine_choice.choose(spec(name), network, network.layers, 1) is Engine(name)


def test_the_number_of_readers_is_no_part_of_a_scans_identity():
    one, other = (spec("eager").model_copy(update={"resources": ResourcesSpec(readers=count)}) for count in ("auto", 3))
    assert one.identity() == other.identity() and "readers" not in one.identity()["resources"]


def test_a_scan_keeps_its_identity_unless_it_names_an_engine():
    assert "engine" not in spec("eager").identity()["scan"]
    assert len({str(spec(name).identity()) for name in ("eager", "compiled", "auto")}) == 3


def test_compiling_in_half_precision_is_refused():
    with pytest.raises(SpecError, match="compiled supports float32 only, not bfloat16"):
        spec("compiled", precision="bfloat16")


def test_a_plan_without_a_compiler_says_so_in_one_line(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert engine_choice.expected_name(Engine.EAGER, "cpu") == "eager"
    with pytest.raises(
        SpecError,
        match=r"no C\+\+ compiler 'no-such-compiler'; install one or set CXX; alternatively, use --engine eager",
    ):
        engine_choice.expected_name(Engine.COMPILED, "cpu")
