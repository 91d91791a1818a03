"""Fingerprints of networks. Takes nodes, gives the hash of the graph and of all numbers in it."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch

from workers.core import graph_document
from workers.core.nodes import Node

DIGITS = 32


def fingerprint(nodes: Sequence[Node]) -> str:
    """The hash of the graph and all numbers in it: 32 hexadecimal digits."""
    digest = hashlib.sha256()
    for node in nodes:
        _hash_node(digest, node)
    return digest.hexdigest()[:DIGITS]


def by_layer(nodes: Sequence[Node]) -> tuple[str, ...]:
    """For each node, the hash of all nodes that it depends on. Equal hashes mean equal outputs."""
    hashes: list[str] = []
    for node in nodes:
        digest = hashlib.sha256("".join(hashes[number] for number in node.inputs).encode())
        _hash_node(digest, node)
        hashes.append(digest.hexdigest()[:DIGITS])
    return tuple(hashes)


def _hash_node(digest: Any, node: Node) -> None:  # noqa: ANN401 - hashlib's object has no public type
    document, tensors = graph_document.dump_node(node)
    digest.update(json.dumps(document, sort_keys=True).encode())
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
