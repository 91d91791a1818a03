"""Engines: a compiled network gives the scores of the uncompiled one, or it is not used."""

import pytest
import torch

from tests.support.engines import HAS_COMPILER
from tests.support.networks import seeded
from workers.actors import engine
from workers.core.graph import trace
from workers.core.maxima import Maxima
from workers.core.network import Network
from workers.errors import NodeError
from workers.spec.scan import Engine

SIDE = 32
needs_compiler = pytest.mark.skipif(not HAS_COMPILER, reason="no C++ compiler")


@pytest.fixture(scope="module")
def maxima() -> Maxima:
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(8, 16, 3),
        torch.nn.SiLU(),
    )
    network = Network(trace(seeded(module).eval(), (SIDE, SIDE))).to(dtype=torch.float32)
    return Maxima(network, network.layers, 4)


def images(count: int) -> torch.Tensor:
    made = torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(count))
    return made.contiguous(memory_format=torch.channels_last)


@needs_compiler
def test_a_compiled_network_gives_the_scores_of_the_uncompiled_one_for_any_number_of_images(maxima):
    runner, name = engine.runner(maxima, Engine.COMPILED, "cpu", images(1))
    assert isinstance(runner, engine.Compiled) and name.startswith("compiled, ")
    for count in (1, 3, 4, 11):
        found, expected = runner.of(images(count)), maxima.of(images(count))
        assert found.shape == (count, sum(layer.channels for layer in maxima.layers))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@needs_compiler
def test_an_images_scores_do_not_depend_on_those_beside_it(maxima):
    runner, _ = engine.runner(maxima, Engine.COMPILED, "cpu", images(1))
    many = images(11)
    assert torch.equal(runner.of(many)[8:], runner.of(many[8:]))  # the last part, filled up with other images


def test_the_eager_engine_compiles_nothing(maxima, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda *_, **__: pytest.fail("something was compiled"))
    assert engine.runner(maxima, Engine.EAGER, "cpu", images(1)) == (maxima, "eager")


def broken(*_: object, **__: object) -> None:
    raise RuntimeError("the compiler has crashed\nat length")


def wrong(graph, **_: object):
    return lambda batch: graph(batch) * 1.001


@pytest.mark.parametrize(
    ("fault", "told"), [(broken, "the compiler has crashed"), (wrong, "differs from the uncompiled network by")]
)
def test_a_network_that_cannot_be_compiled_or_gives_other_scores_is_not_used(maxima, monkeypatch, fault, told):
    monkeypatch.setattr(torch, "compile", fault)
    monkeypatch.setattr(engine, "has_compiler", lambda _: True)
    assert engine.runner(maxima, Engine.AUTO, "cpu", images(1)) == (maxima, "eager")
    with pytest.raises(NodeError, match=told) as caught:
        engine.runner(maxima, Engine.COMPILED, "cpu", images(1))
    assert "\n" not in str(caught.value) and str(caught.value).endswith("use --engine eager")


def test_a_machine_without_a_compiler_is_named(maxima, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(torch, "compile", broken)
    assert not engine.has_compiler("cpu")
    with pytest.raises(NodeError, match=r"it has no C\+\+ compiler 'no-such-compiler'; use --engine eager"):
        engine.runner(maxima, Engine.COMPILED, "cpu", images(1))
