"""A network as plain values and tensors, and back. Takes nodes, gives a document for JSON; takes both, gives the nodes.

Every step is a frozen value, so that its class and fields are all there is to write. Only our own steps can be read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from torch import Tensor

from workers.core import joins, norms, opaque, pooling, rectifiers, resampling, slicing, steps
from workers.core.arrangement import Factor
from workers.core.nodes import Node
from workers.core.steps import Step

NodeDocument = dict[str, Any]

_MODULES = (joins, norms, opaque, pooling, rectifiers, resampling, slicing, steps)
_STEPS: Mapping[str, type[Step]] = {
    name: value
    for module in _MODULES
    for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, Step) and value.__module__ == module.__name__
}


def dump(nodes: Sequence[Node]) -> tuple[list[NodeDocument], dict[str, Tensor]]:
    """The nodes as plain values, and their tensors by key."""
    tensors: dict[str, Tensor] = {}
    documents = []
    for number, node in enumerate(nodes):
        document, own = dump_node(node)
        documents.append(document)
        tensors.update({f"{number}.{key}": tensor for key, tensor in own.items()})
    return documents, tensors


def dump_node(node: Node) -> tuple[NodeDocument, dict[str, Tensor]]:
    """One node as plain values, and its tensors by key."""
    tensors: dict[str, Tensor] = {}
    values = {field.name: getattr(node.step, field.name) for field in fields(node.step)}  # type: ignore[arg-type]
    document = {
        "name": node.name,
        "step": type(node.step).__name__,
        "inputs": list(node.inputs),
        "shape": list(node.shape),
        "is_output": node.is_output,
        "fields": {name: _dump(value, name, tensors) for name, value in values.items()},
    }
    return document, tensors


def load(documents: Sequence[NodeDocument], tensors: Mapping[str, Tensor]) -> tuple[Node, ...]:
    """The nodes of documents that `dump` gave.

    Raises:
        KeyError: a step or a tensor is unknown.
        TypeError: a step has other fields.
        ValueError: a value is of a kind that `dump` does not write.
    """
    return tuple(_load_node(document, tensors, f"{number}.") for number, document in enumerate(documents))


def _load_node(document: NodeDocument, tensors: Mapping[str, Tensor], prefix: str) -> Node:
    values = {name: _load(value, tensors, prefix) for name, value in document["fields"].items()}
    step = _STEPS[document["step"]](**values)
    channels, height, width = document["shape"]
    return Node(
        document["name"], step, tuple(document["inputs"]), (channels, height, width), is_output=document["is_output"]
    )


def _dump(value: Any, key: str, tensors: dict[str, Tensor]) -> Any:  # noqa: ANN401 - any field of a step
    if isinstance(value, Tensor):
        tensors[key] = value
        return {"tensor": key}
    if isinstance(value, Factor):
        return {"factor": [value.axis, value.stride, value.size]}
    if isinstance(value, tuple):
        return [_dump(each, f"{key}.{number}", tensors) for number, each in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"{key} is {value!r}, which cannot be stored")


def _load(value: Any, tensors: Mapping[str, Tensor], prefix: str) -> Any:  # noqa: ANN401 - any field of a step
    if isinstance(value, list):
        return tuple(_load(each, tensors, prefix) for each in value)
    if not isinstance(value, dict):
        return value
    if "factor" in value:
        return Factor(*value["factor"])
    return tensors[prefix + value["tensor"]]
