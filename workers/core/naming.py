"""Names of operations. Takes the nodes of an exported graph, gives the names that torchvision's feature extraction gives them.

The output of one of torch's own modules has the module's name: `layer1.0.conv1`. Any other operation has the name of the
module whose code calls it and the name of the function: `layer1.0.add`. A repeated name gets a number: `layer1.0.relu_1`.
"""

import re
from collections.abc import Sequence

from torch import fx

_LEAVES = ("torch.nn.modules.", "torch.ao.nn.")


def names(nodes: Sequence[fx.Node]) -> list[str]:
    """The name of each node, in order."""
    last_of_call = {_call(node): number for number, node in enumerate(nodes) if _is_leaf(node)}
    used: dict[str, int] = {}
    given: set[str] = set()
    result: list[str] = []
    for number, node in enumerate(nodes):
        is_output = _is_leaf(node) and last_of_call[_call(node)] == number
        name = _number(_path(node) if is_output else _inner_name(node), used, given)
        given.add(name)
        result.append(name)
    return result


def called(node: fx.Node) -> str:
    """The module or function that the user's code called."""
    return _owner(node)[2].rpartition(".")[2] if _is_leaf(node) else _function(node)


def _number(name: str, used: dict[str, int], given: set[str]) -> str:
    """The name itself at its first use, and then the next free one of `name_1`, `name_2`, ..."""
    if name not in given:
        return name
    while True:
        used[name] = used.get(name, 0) + 1
        numbered = f"{name}_{used[name]}"
        if numbered not in given:
            return numbered


def _owner(node: fx.Node) -> tuple[str, str, str]:
    """The innermost module whose code runs the node: a key for each of its calls, its path, and its class."""
    stack = [(key, *value) for key, value in (node.meta.get("nn_module_stack") or {}).items()]
    key, path, kind = stack[-1] if stack else ("", "", "")
    return str(key), str(path), kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"


def _path(node: fx.Node) -> str:
    return re.sub(r"@\d+$", "", _owner(node)[1])


def _is_leaf(node: fx.Node) -> bool:
    return bool(_path(node)) and _owner(node)[2].startswith(_LEAVES)


def _call(node: fx.Node) -> tuple[str, str]:
    key, path, _ = _owner(node)
    return key, path


def _function(node: fx.Node) -> str:
    """The name of the function that the user's code called, such as `add` for `x += y`."""
    if node.op == "placeholder":
        return node.name
    _, function = node.meta.get("torch_fn") or ("", "")
    name = function.rpartition(".")[2].strip("_")
    return name or str(node.target).removeprefix("aten.").partition(".")[0].strip("_")


def _inner_name(node: fx.Node) -> str:
    return ".".join(part for part in (_path(node), _function(node)) if part)
