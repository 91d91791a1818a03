"""Engines: a compiled network gives the scores of the uncompiled one, or it is not used."""

import gc
import os
from pathlib import Path

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
        actual, expected = runner.of(images(count)), maxima.of(images(count))
        assert actual.shape == (count, sum(layer.channels for layer in maxima.layers))
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


@needs_compiler
def test_an_images_scores_do_not_depend_on_those_beside_it(maxima):
    runner, _ = engine.runner(maxima, Engine.COMPILED, "cpu", images(1))
    full = images(4)
    assert torch.equal(runner.of(full)[:2], runner.of(full[:2]))  # the others are replaced by empty images


@needs_compiler
@pytest.mark.parametrize("channels", [1, 3])
def test_parts_that_are_not_full_compile_nothing_again(channels):
    module = torch.nn.Sequential(torch.nn.Conv2d(channels, 4, 3), torch.nn.ReLU())
    network = Network(trace(seeded(module).eval(), (SIDE, SIDE), channels)).to(dtype=torch.float32)
    maxima = Maxima(network, network.layers, 4)
    runner, _ = engine.runner(maxima, Engine.COMPILED, "cpu", images(1)[:, :channels])
    with torch._dynamo.config.patch(error_on_recompile=True):
        for layout in (torch.channels_last, torch.contiguous_format):
            some = images(7)[:, :channels].contiguous(memory_format=layout)
            torch.testing.assert_close(runner.of(some), maxima.of(some), rtol=1e-5, atol=1e-6)


@needs_compiler
def test_forgetting_frees_the_weights_of_compiled_networks():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.ReLU())
    network = Network(trace(seeded(module).eval(), (SIDE, SIDE))).to(dtype=torch.float32)
    runner, _ = engine.runner(Maxima(network, network.layers, 2), Engine.COMPILED, "cpu", images(1))
    del runner, network, module
    gc.collect()
    assert held()
    engine.forget()
    gc.collect()
    assert not held()


def held() -> list[torch.Tensor]:
    """The weights or packed weights of the network of the test above that are still in memory."""
    return [
        each for each in gc.get_objects() if type(each) is torch.Tensor and each.shape[:1] == (5,) and each.dim() == 4
    ]


def test_the_eager_engine_compiles_nothing(maxima, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda *_, **__: pytest.fail("something was compiled"))
    for name in (Engine.EAGER, Engine.AUTO):
        assert engine.runner(maxima, name, "cpu", images(1)) == (maxima, "eager")


def broken(*_: object, **__: object) -> None:
    raise RuntimeError("the compiler has crashed\nat length")


def wrong(graph, **_: object):
    return lambda batch: graph(batch) * 1.001


def endless(graph, **_: object):
    return lambda batch: graph(batch) * torch.nan


@needs_compiler
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (broken, "the compiler has crashed"),
        (wrong, "differ from the uncompiled network's by up to"),
        (endless, "differ from the uncompiled network's by up to nan"),
    ],
)
def test_a_network_that_cannot_be_compiled_or_gives_other_scores_is_not_used(maxima, monkeypatch, fault, words):
    monkeypatch.setattr(torch, "compile", fault)
    with pytest.raises(NodeError, match=words) as caught:
        engine.runner(maxima, Engine.COMPILED, "cpu", images(1))
    assert "\n" not in str(caught.value) and str(caught.value).endswith("use --engine eager")


class BackendFailed(RuntimeError):
    """As torch wraps the error of a backend."""

    def __init__(self, inner: Exception) -> None:
        super().__init__("backend failed")
        self.inner_exception = inner


@needs_compiler
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: ...")])
def test_out_of_memory_stays_what_it_is(maxima, monkeypatch, error):
    def fail(*_: object, **__: object) -> None:
        raise BackendFailed(error)

    monkeypatch.setattr(torch, "compile", fail)
    with pytest.raises(type(error)) as caught:
        engine.runner(maxima, Engine.COMPILED, "cpu", images(1))
    assert caught.value is error


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("no-such-compiler", r"there is no C\+\+ compiler 'no-such-compiler'; install one or set CXX"),
        ("false", "false --version fails with exit code 1"),
    ],
)
def test_a_machine_without_a_compiler_is_named(maxima, monkeypatch, command, words):
    monkeypatch.setenv("CXX", command)
    with pytest.raises(NodeError, match=words):
        engine.runner(maxima, Engine.COMPILED, "cpu", images(1))


@needs_compiler
def test_a_compiler_with_words_before_it_is_found(monkeypatch):
    plain = engine.name("cpu")
    monkeypatch.setenv("CXX", "env g++")
    assert engine.has_compiler("cpu") and engine.name("cpu") == plain


@pytest.fixture
def shared_folder(tmp_path, monkeypatch) -> Path:
    """Where the cache would be, in a folder for temporary files that everybody can write to."""
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / f"deconvoy-compiled-{os.getuid()}"


def test_compiled_code_lies_where_only_its_user_can_write(shared_folder):
    assert engine._own_folder() == engine._own_folder() == shared_folder
    assert shared_folder.stat().st_mode & 0o777 == 0o700


@needs_compiler
@pytest.mark.parametrize("fault", ["writable", "link"])
def test_a_folder_that_others_have_prepared_is_not_used(maxima, shared_folder, fault):
    target = shared_folder if fault == "writable" else shared_folder.with_name("elsewhere")
    target.mkdir()
    target.chmod(0o777 if fault == "writable" else 0o700)
    if fault == "link":
        shared_folder.symlink_to(target)
    words = "not a folder that only its owner can write to; remove it, or set TORCHINDUCTOR_CACHE_DIR"
    with pytest.raises(NodeError, match=words):
        engine.runner(maxima, Engine.COMPILED, "cpu", images(1))
    assert not list(target.iterdir())
