"""Weights under a root. Takes a fingerprint and tensors, writes a file that contains its own hash; reads and verifies it."""

import hashlib
import json
import platform
from collections.abc import Mapping

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from workers.errors import DamagedFile, NodeError
from workers.store import paths
from workers.store.root import Root

SHA256 = "sha256"  # key in the file's metadata


def write(root: Root, fingerprint: str, state: Mapping[str, Tensor]) -> None:
    """Write the weights of the network with a fingerprint."""
    metadata = {SHA256: _hash(fingerprint, state)}
    root.put(paths.model_path(fingerprint), safetensors.torch.save(dict(state), metadata))


def is_intact(root: Root, fingerprint: str) -> bool:
    """Whether the weights of a fingerprint exist and are undamaged."""
    path = paths.model_path(fingerprint)
    if not root.exists(path):
        return False
    try:
        _unpack(root.read(path), fingerprint)
    except ValueError:
        return False
    return True


def read(root: Root, fingerprint: str) -> dict[str, Tensor]:
    """The weights of a fingerprint.

    Raises:
        NodeError: this node does not see the file.
        DamagedFile: the file is damaged.
    """
    path = paths.model_path(fingerprint)
    try:
        return _unpack(root.read(path), fingerprint)
    except FileNotFoundError as error:
        raise NodeError(
            f"node {platform.node()} cannot find {root.path(path)}; every node must be able to read the same root"
        ) from error
    except ValueError as error:
        raise DamagedFile(
            f"{root.path(path)} is damaged: {error}; run the same command again to write the file again"
        ) from error


def _unpack(data: bytes, fingerprint: str) -> dict[str, Tensor]:
    """The tensors of a file.

    Raises:
        ValueError: the file is damaged, or an older version wrote it.
    """
    try:
        state = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        stored_hash = header["__metadata__"][SHA256]
    except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    if stored_hash != _hash(fingerprint, state):
        raise ValueError("its weights do not match the SHA-256 in its header")
    return state


def _hash(fingerprint: str, state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(fingerprint.encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
