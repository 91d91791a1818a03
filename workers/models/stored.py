"""Networks under a root. Takes a fingerprint and nodes, writes a file with the graph and its weights; reads and verifies it."""

import json
import platform
from collections.abc import Mapping, Sequence

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from workers.core import graph_document
from workers.core.nodes import Node
from workers.errors import DamagedFile, NodeError
from workers.models.fingerprints import fingerprint
from workers.store import paths
from workers.store.root import Root

GRAPH = "graph"  # key in the file's metadata


def write(root: Root, mark: str, nodes: Sequence[Node]) -> None:
    """Write the network with a fingerprint."""
    documents, tensors = graph_document.dump(nodes)
    # A weight that two nodes share is written twice: the format has no shared memory.
    own = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    root.put(paths.model_path(mark), safetensors.torch.save(own, {GRAPH: json.dumps(documents)}))


def is_intact(root: Root, mark: str) -> bool:
    """Whether the network with a fingerprint exists and is undamaged."""
    path = paths.model_path(mark)
    if not root.exists(path):
        return False
    try:
        _unpack(root.read(path), mark)
    except ValueError:
        return False
    return True


def read(root: Root, mark: str) -> tuple[Node, ...]:
    """The network with a fingerprint.

    Raises:
        NodeError: this node does not see the file.
        DamagedFile: the file is damaged.
    """
    path = paths.model_path(mark)
    try:
        return _unpack(root.read(path), mark)
    except FileNotFoundError as error:
        raise NodeError(
            f"node {platform.node()} cannot find {root.path(path)}; every node must be able to read the same root"
        ) from error
    except ValueError as error:
        raise DamagedFile(
            f"{root.path(path)} is damaged: {error}; run the same command again to write the file again"
        ) from error


def _unpack(data: bytes, mark: str) -> tuple[Node, ...]:
    """The network in a file.

    Raises:
        ValueError: the file is damaged, or another version of Deconvoy wrote it.
    """
    try:
        tensors: Mapping[str, Tensor] = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        nodes = graph_document.load(json.loads(header["__metadata__"][GRAPH]), tensors)
        actual = fingerprint(nodes)
    except (SafetensorError, KeyError, IndexError, TypeError, RuntimeError, AttributeError) as error:
        raise ValueError(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    if actual != mark:
        raise ValueError(f"it holds a network with fingerprint {actual}")
    return nodes
