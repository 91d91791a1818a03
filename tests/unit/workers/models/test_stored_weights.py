"""Weights under a root: any flipped bit is found and blamed on the file; the driver that holds good ones writes them again."""

import random

import pytest
import safetensors.torch
import torch

from workers.errors import DamagedFile, NodeError
from workers.models import model as models
from workers.models import stored
from workers.spec.parts import ModelSpec
from workers.store import paths
from workers.store.root import Root

MARK = "f" * 32
STATE = {
    "conv.weight": torch.arange(24, dtype=torch.float32).reshape(2, 3, 2, 2),
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "norm.num_batches_tracked": torch.tensor(7),
    "empty": torch.zeros(0),
}


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


def test_weights_come_back_as_they_were_written(root):
    stored.write(root, MARK, STATE)
    found = stored.read(root, MARK)
    assert found.keys() == STATE.keys() and all(torch.equal(found[name], STATE[name]) for name in STATE)
    assert stored.is_intact(root, MARK)


@pytest.mark.parametrize("trials", [100, pytest.param(2000, marks=pytest.mark.slow)])
def test_any_flipped_bit_is_a_damaged_file_and_never_other_weights(root, trials):
    stored.write(root, MARK, STATE)
    data = root.read(paths.model_path(MARK))
    for bit in random.Random(0).sample(range(len(data) * 8), trials):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        root.put(paths.model_path(MARK), bytes(flipped))
        assert not stored.is_intact(root, MARK), bit
        with pytest.raises(DamagedFile, match=r"f{32}.safetensors is damaged: .*; run the same command again") as told:
            stored.read(root, MARK)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize("data", [b"", b"x", b"\0" * 8, b"\xff" * 100, safetensors.torch.save(STATE)])
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
    assert models.fingerprint(models.restore(model.stored, root)) == model.fingerprint
