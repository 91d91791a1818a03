"""Functions of torch that the export takes apart. Takes an exported graph, puts them together again: one node for each call."""

from collections import defaultdict
from typing import Any

import torch
from torch import fx

LOCAL_RESPONSE_NORM = "local_response_norm"
PARTS = "parts of a call"  # key in a node's metadata: the arguments of the call that it stands for
_aten = torch.ops.aten


def join(graph: fx.Graph) -> None:
    """Make the last node of each call of a local response norm stand for the whole call, and remove the others."""
    calls: dict[str, list[fx.Node]] = defaultdict(list)
    for node in graph.nodes:
        call, function = node.meta.get("torch_fn") or ("", "")
        if function.endswith(f".{LOCAL_RESPONSE_NORM}"):
            calls[call].append(node)
    for nodes in calls.values():
        arguments = _local_response_norm(nodes)
        if arguments:
            nodes[-1].meta[PARTS] = arguments
            nodes[-1].args = nodes[-1].args[:1]
            for node in reversed(nodes[:-1]):
                graph.erase_node(node)


def _local_response_norm(nodes: list[fx.Node]) -> dict[str, Any]:
    """The arguments of a local response norm of maps, from its parts; empty if it is one of something else.

    Torch computes x / (k + alpha * mean of x * x over `size` channels) ** beta.
    """
    by_target: dict[Any, Any] = {
        node.target: node.args for node in nodes
    }  # of the two products, the later one has the constant
    wanted = (_aten.avg_pool3d.default, _aten.mul.Tensor, _aten.add.Tensor, _aten.pow.Tensor_Scalar)
    if nodes[-1].target is not _aten.div.Tensor or not all(target in by_target for target in wanted):
        return {}
    windows, alpha, k, beta = (by_target[target][1] for target in wanted)
    return {"self": nodes[-1].args[0], "size": windows[0], "alpha": alpha, "beta": beta, "k": k}
