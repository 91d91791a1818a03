"""Networks under a root: any flipped bit is found and blamed on the file; the driver that holds good ones writes them again."""

import operator
import random

import pytest
import safetensors.torch
import torch

from workers.core import steps
from workers.core.arrangement import plain
from workers.core.network import Network
from workers.core.nodes import NO_MAP, Node
from workers.core.opaque import Opaque
from workers.core.rectifiers import Rectifier
from workers.errors import DamagedFile, NodeError
from workers.models import model as models
from workers.models import stored
from workers.models.fingerprints import fingerprint
from workers.spec.parts import ModelSpec
from workers.store import paths
from workers.store.root import Root

NODES = (
    Node("x", steps.Input(), (), (3, 8, 8)),
    Node("conv", steps.Convolution(torch.rand(2, 3, 2, 2), None, (2, 2), (0, 1), (1, 1), 1), (0,), (2, 4, 5)),
    Node("half", steps.Scale(torch.tensor([1.5, -2.0], dtype=torch.bfloat16), torch.zeros(2)), (1,), (2, 4, 5)),
    Node(
        "soft",
        Opaque(
            "softmax.int",
            (("self", ("input", 0)), ("dim", ("value", 1))),
            (plain((2, 4, 5)),),
            None,
            None,
            "no",
            (torch.tensor(7), torch.zeros(0)),
        ),
        (2,),
        NO_MAP,
    ),
    Node("elu", Rectifier("elu", (0.5,)), (2,), (2, 4, 5), is_output=True),
)
MARK = fingerprint(NODES)


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


def run(nodes, images) -> torch.Tensor:
    values = []
    Network(nodes).forward(images, [4], lambda _, __, value: values.append(value))
    return values[0]


def test_a_network_comes_back_as_they_were_written(root):
    stored.write(root, MARK, NODES)
    found = stored.read(root, MARK)
    assert [(node.name, node.inputs, node.shape, node.is_output) for node in found] == [
        (node.name, node.inputs, node.shape, node.is_output) for node in NODES
    ]
    for node, wanted in zip(found, NODES, strict=True):
        assert type(node.step) is type(wanted.step)
        for name, value in vars(wanted.step).items():
            same = torch.equal if isinstance(value, torch.Tensor) else operator.eq
            assert name == "tensors" or same(getattr(node.step, name), value), name
    images = torch.rand(1, 3, 8, 8)
    assert torch.equal(run(found, images), run(NODES, images))
    assert stored.is_intact(root, MARK)


@pytest.mark.parametrize("trials", [100, pytest.param(2000, marks=pytest.mark.slow)])
def test_any_flipped_bit_is_a_damaged_file_and_never_other_weights(root, trials):
    stored.write(root, MARK, NODES)
    data = root.read(paths.model_path(MARK))
    for bit in random.Random(0).sample(range(len(data) * 8), trials):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        root.put(paths.model_path(MARK), bytes(flipped))
        assert not stored.is_intact(root, MARK), bit
        with pytest.raises(
            DamagedFile, match=r"[0-9a-f]{32}.safetensors is damaged: .*; run the same command again"
        ) as told:
            stored.read(root, MARK)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "data", [b"", b"x", b"\0" * 8, b"\xff" * 100, safetensors.torch.save({"conv.weight": torch.zeros(2)})]
)
def test_what_is_no_file_of_ours_is_damaged(root, data):
    root.put(paths.model_path(MARK), data)
    assert not stored.is_intact(root, MARK)
    with pytest.raises(DamagedFile, match="is damaged"):
        stored.read(root, MARK)


def test_a_node_that_does_not_see_the_file_is_named(root):
    with pytest.raises(NodeError, match=r"node .* cannot find .*every node must be able to read the same root"):
        stored.read(root, MARK)


def test_the_driver_writes_damaged_weights_again_and_leaves_good_ones(root):
    model = models.load(ModelSpec(source="deconvoy://zfnet-mini"))
    path = paths.model_path(model.fingerprint)
    models.store(model, root)
    data, when = root.read(path), root.modified(path)
    models.store(model, root)
    assert root.modified(path) == when
    for damaged in (data[: len(data) // 2], data[:5000] + bytes([data[5000] ^ 1]) + data[5001:], b""):
        root.put(path, damaged)
        with pytest.raises(DamagedFile, match=model.fingerprint):
            models.restore(model.stored, root)
        models.store(model, root)
        assert root.read(path) == data
    assert fingerprint(models.restore(model.stored, root).nodes) == model.fingerprint
