"""Operations that overwrite their input. Takes an exported graph, makes later nodes read the new result instead."""

import operator
from typing import Any

import torch
from torch import fx


def schema_of(node: fx.Node) -> Any:  # noqa: ANN401 - torch's schema has no public type
    """The schema of the operation that a node calls; None if it calls something else."""
    return node.target._schema if isinstance(node.target, torch._ops.OpOverload) else None


def writes(node: fx.Node) -> bool:
    """Whether a node overwrites one of its arguments."""
    schema = schema_of(node)
    return schema is not None and any(a.alias_info is not None and a.alias_info.is_write for a in schema.arguments)


def result_overload(overload: str) -> str:
    """The full name of the operation that gives as a new result what `overload`, such as `add_.Tensor`, writes."""
    return overload.replace("_.", ".", 1)


def result_schema_of(node: fx.Node) -> Any:  # noqa: ANN401 - torch's schema has no public type
    """The schema of the operation that gives a node's result without writing; its argument names may differ."""
    if not writes(node):
        return schema_of(node)
    name, _, overload = result_overload(str(node.target).removeprefix("aten.")).partition(".")
    return getattr(getattr(torch.ops.aten, name), overload)._schema


def _shares_memory(node: fx.Node) -> bool:
    """Whether the result may be a view of the first argument."""
    schema = schema_of(node)
    if schema is None:
        return node.target is operator.getitem
    return schema.name in ("aten::dropout", "aten::feature_dropout") or (
        bool(schema.arguments) and schema.arguments[0].alias_info is not None
    )


def replace_writes(graph: fx.Graph) -> bool:
    """Make nodes that read a tensor after it was overwritten read the new result instead.

    Returns:
        False if a tensor is overwritten while a view of it is read later; then only torch can do it.
    """
    owners: dict[fx.Node, fx.Node] = {}
    order = {node: number for number, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        source = node.args[0] if node.args else None
        if isinstance(source, fx.Node) and _shares_memory(node):
            owners[node] = owners.get(source, source)
        if not writes(node):
            continue
        if not isinstance(source, fx.Node):
            return False
        owner = owners.get(source, source)
        for other in [owner, *(each for each, of in owners.items() if of is owner)]:
            later = [user for user in other.users if order[user] > order[node]]
            if later and other is not source and other is not node:
                return False
            for user in later if other is source else ():
                user.replace_input_with(source, node)
    return True
