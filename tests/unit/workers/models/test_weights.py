"""Weights that a model's source names: a file, a URL, or a word that torchvision knows."""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePath

import pytest
import safetensors.torch
import torch
import torchvision.models

from workers.errors import DivergedError, ModelError
from workers.models import architectures, weights
from workers.models.model import load
from workers.spec import families
from workers.spec.families import weights_file
from workers.spec.parts import ModelSpec


def resolved(source: str) -> str | None:
    """The file that is read for a model."""
    return architectures.resolve(ModelSpec(source=source))[1].file


def test_every_name_of_torchvisions_weights_is_a_word_and_no_file():
    for name in torchvision.models.list_models(torchvision.models):
        for word in (*torchvision.models.get_model_weights(name).__members__, "DEFAULT"):
            assert weights_file(f"torchvision://{name}?weights={word}") is None


@pytest.mark.parametrize("weights", ["w.pt", "/w", "s3://b/w.pt", "data:,abc", "memory:x", "simplecache::x", "a-b"])
def test_what_is_no_word_is_read_as_a_file(weights):
    for network in ("deconvoy://zfnet", "deconvoy://zfnet-mini", "torchvision://resnet18"):
        source = f"{network}?weights={weights}"
        assert weights_file(source) == resolved(source) == weights


def test_a_word_is_a_file_for_our_own_networks_and_a_name_for_torchvisions():
    for network in ("zfnet", "zfnet-mini"):
        source = f"deconvoy://{network}?weights=passwords"
        assert weights_file(source) == resolved(source) == "passwords"
    assert weights_file("torchvision://resnet18?weights=passwords") is None
    with pytest.raises(ModelError, match="no weights 'passwords' for resnet18; give a file, or one of IMAGENET1K_V1"):
        resolved("torchvision://resnet18?weights=passwords")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("torchvision://alexnet?weights=DEFAULT", "torchvision://alexnet?weights=DEFAULT"),
        ("torchvision://alexnet?weights=s3://b/w.pt", "torchvision://alexnet?weights=s3://b/w.pt"),
        ("deconvoy://zfnet?weights=trained", "deconvoy://zfnet?weights=/specs/trained"),
        ("deconvoy://zfnet?weights=/w.pt", "deconvoy://zfnet?weights=/w.pt"),
        ("deconvoy://zfnet?weights=", "deconvoy://zfnet?weights="),
    ],
)
def test_of_weights_what_is_a_file_and_no_url_is_relative_to_the_spec(source, told):
    assert families.absolute(source, PurePath("/specs")) == told


OURS = "deconvoy://zfnet-mini"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return {key: value.float() for key, value in load(ModelSpec(source=OURS)).module.state_dict().items()}


def refusal(path: Path) -> str:
    """What a file of weights is refused with: one line that names it."""
    with pytest.raises(ModelError) as raised:
        load(ModelSpec(source=f"{OURS}?weights={path}"))
    line = str(raised.value)
    assert str(path) in line and len(line.splitlines()) == 1 and raised.value.exit_code == 2, line
    return line


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_have_diverged_are_named_with_their_count(number, state, tmp_path):
    bias = state["conv3.bias"].clone()
    bias[2:5] = number
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(state | {"conv3.bias": bias}, path)
    told = f"have diverged: conv3.bias holds NaN or infinity in 3 of {len(bias)} numbers; give an earlier checkpoint"
    assert refusal(path).endswith(told)


def test_a_double_that_no_single_holds_is_infinite(state, tmp_path):
    torch.save(state | {"conv1.bias": state["conv1.bias"].double() + 1e300}, tmp_path / "w.pt")
    assert "conv1.bias holds NaN or infinity" in refusal(tmp_path / "w.pt")


def test_finite_weights_whose_network_gives_nan_have_diverged_too(state, tmp_path):
    large = {name: state[name] * 1e30 for name in ("conv2.weight", "conv3.weight")}
    safetensors.torch.save_file(state | large, tmp_path / "w.safetensors")
    with pytest.raises(DivergedError, match="outputs NaN or infinity for noise images"):
        load(ModelSpec(source=f"{OURS}?weights={tmp_path}/w.safetensors"))


@pytest.mark.parametrize(
    "dtype", [torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2]
)
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_weights_that_are_not_plain_floats_are_refused_by_name(dtype, ending, state, tmp_path):
    save = torch.save if ending == "pt" else safetensors.torch.save_file
    save(state | {"conv1.weight": state["conv1.weight"].to(dtype)}, tmp_path / f"w.{ending}")
    assert f"conv1.weight is {str(dtype).removeprefix('torch.')}; only float32" in refusal(tmp_path / f"w.{ending}")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bent", [lambda t: t.to_sparse(), lambda t: t.to("meta")])
def test_weights_that_are_not_dense_are_refused(bent, state, tmp_path):
    torch.save(state | {"conv1.weight": bent(state["conv1.weight"])}, tmp_path / "w.pt")
    refusal(tmp_path / "w.pt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_half_and_double_precision_are_read(dtype, state, tmp_path):
    torch.save({key: value.to(dtype) for key, value in state.items()}, tmp_path / "w.pt")
    assert load(ModelSpec(source=f"{OURS}?weights={tmp_path}/w.pt")).network.layers


def header(content: bytes | dict, data: bytes = b"") -> bytes:
    """A safetensors file."""
    told = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(told)) + told + data


def saved(value: object) -> bytes:
    """A torch file."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def bomb() -> bytes:
    """A few kB that unpack to 40 MB; a larger one is only a larger number in the same place."""
    with zipfile.ZipFile(io.BytesIO(saved({"conv1.weight": torch.zeros(10_000_000)}))) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tensor(shape: list[int], start: int, stop: int, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    ("name", "make", "told"),
    [
        ("w.pt", lambda: b"", "it is empty or truncated"),
        ("w.safetensors", lambda: b"", "header too small"),
        ("w.pt", lambda: saved({0: torch.ones(3)}), "its key 0 is not a parameter's name"),
        ("w.pt", lambda: saved({None: torch.ones(3)}), "its key None is not a parameter's name"),
        ("w.pt", lambda: saved(torch.nn.Linear(2, 2)), "loading them would run code; write it with torch.save("),
        ("w.pt", lambda: b"cos\nsystem\n(S'id'\ntR.", "loading them would run code"),
        ("w.pt", lambda: saved([1]), "it does not contain a mapping from names to tensors"),
        ("w.pt", lambda: saved({"a": 1}), "it does not contain a mapping from names to tensors"),
        ("w.pt", bomb, "that unpacks to 40,"),
        ("w.pt", lambda: saved({"a": torch.ones(3)})[:-40], "neither safetensors nor"),
        ("w.pt", lambda: b"\x80\x02X\x04", "neither safetensors nor"),
        ("w.pt", lambda: pickle.dumps({"a": 1}), "neither safetensors nor"),
        ("w.safetensors", lambda: struct.pack("<Q", 2**60) + b"{}", "header too large"),
        ("w.safetensors", lambda: header(b"[" * 100_000), "invalid JSON in header"),
        ("w.safetensors", lambda: header({"a": tensor([1], 0, 4), "b": tensor([1], 0, 4)}, b"1234"), "invalid offset"),
        ("w.safetensors", lambda: header({"a": tensor([10**12], 0, 4 * 10**12)}, b"1234"), "incomplete metadata"),
        ("w.safetensors", lambda: header({"a": tensor([1], 0, 1, "F8_E8M0")}, b"1"), "unsupported dtype"),
        ("w.safetensors", lambda: header({"a": tensor([10**12, 0], 0, 0)}), "missing"),
    ],
)
def test_a_file_that_holds_no_usable_weights_is_refused_in_one_line(name, make, told, tmp_path):
    (tmp_path / name).write_bytes(make())
    with pytest.raises(ModelError, match=r".") as raised:
        load(ModelSpec(source=f"{OURS}?weights={tmp_path}/{name}"))
    assert told in str(raised.value) and "\n" not in str(raised.value)


def test_a_bomb_is_refused_before_it_is_unpacked(monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it is unpacked"))
    with pytest.raises(ValueError, match=r"torch\.save does not compress"):
        weights._unpickle(bomb())


def test_a_folder_a_pipe_and_a_device_are_no_weights(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    assert "Is a directory" in refusal(tmp_path / "folder")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        assert "it is a device or a pipe, not a file" in refusal(path)


def test_a_file_that_is_many_times_larger_than_its_network_is_not_read(tmp_path):
    with (tmp_path / "w.pt").open("wb") as file:
        file.truncate(10 << 30)
    assert "it is 10,737 MB; at most" in refusal(tmp_path / "w.pt")


def build_kwargs(**kwargs) -> Callable[[], object]:
    return lambda: load(ModelSpec(source="torchvision://resnet18?weights=w.pt", kwargs=kwargs))


@pytest.mark.parametrize(
    ("kwargs", "told"),
    [
        ({"num_classes": 10**10}, "GB of weights; at most 20 GB are supported"),
        ({"num_classes": 10**18}, "resnet18"),
        ({"num_classes": 10**30}, "resnet18 cannot be built"),
        ({"num_classes": -1}, "resnet18 cannot be built"),
        ({"num_classes": "many"}, "resnet18 cannot be built"),
        ({"num_classes": 0.5}, "resnet18 cannot be built"),
        ({"groups": 0}, "resnet18 cannot be built"),
        ({"width_per_group": 10**9}, "resnet18"),
        ({"norm_layer": "x"}, "resnet18 cannot be built"),
        ({"weights": "IMAGENET1K_V1"}, "model.kwargs: name the weights in the source"),
    ],
)
def test_arguments_that_no_memory_holds_or_no_network_takes_are_refused_before_it_is_built(kwargs, told):
    with pytest.raises(ModelError) as raised:
        build_kwargs(**kwargs)()
    assert told in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("source", ["torchvision://resnet18", "torchvision://resnet18?weights=w.pt"])
def test_a_network_that_is_too_large_is_refused_before_it_is_allocated_wherever_its_weights_come_from(source):
    with pytest.raises(ModelError, match=r"resnet18 with .* has .* GB of weights; at most 20 GB are supported"):
        load(ModelSpec(source=source, kwargs={"num_classes": 10**10}))
