"""Regions of a graph that run in another mode. Takes an exported graph, puts their operations into the graph itself.

A module can switch off automatic mixed precision or gradients for a part of its code. A scan uses neither, so such a region
computes what its operations compute.
"""

import operator
from typing import Any

from torch import fx

# By kind of region: the position of its graph among the arguments.
_GRAPHS = {"wrap_with_autocast": 4, "wrap_with_set_grad_enabled": 1}
_AUTOCAST_ENABLED = 2  # position of the argument that switches mixed precision on


def inline(graph_module: fx.GraphModule) -> None:
    """Replace regions by their operations. A region that switches mixed precision on stays."""
    for node in list(graph_module.graph.nodes):
        name = getattr(node.target, "__name__", "")
        if name not in _GRAPHS or (name == "wrap_with_autocast" and node.args[_AUTOCAST_ENABLED]):
            continue
        _inline(graph_module, node, node.args[_GRAPHS[name]], node.args[_GRAPHS[name] + 1 :])


def _inline(owner: fx.GraphModule, node: fx.Node, region: fx.Node, arguments: tuple[Any, ...]) -> None:
    inner: fx.GraphModule = getattr(owner, str(region.target))
    inline(inner)
    placeholders = [each for each in inner.graph.nodes if each.op == "placeholder"]
    with owner.graph.inserting_before(node):
        outputs: Any = owner.graph.graph_copy(inner.graph, dict(zip(placeholders, arguments, strict=True)))
    for user in list(node.users):
        if user.target is operator.getitem:
            user.replace_all_uses_with(outputs[user.args[1]])
            owner.graph.erase_node(user)
    owner.graph.erase_node(node)
    if not region.users:
        owner.graph.erase_node(region)
