"""A module as a list of operations. Takes a torch module, gives what it computes in order; exports it with torch.export.

What the export leaves is made simpler: operations in place become operations that give a new result, numbers that depend
on the weights alone are computed, and copies, checks and sizes disappear. Every operation has the name that torchvision's
feature extraction gives it.
"""

import operator
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram, export
from torch.export.graph_signature import InputKind

from workers.core import composites, in_place, naming, regions
from workers.errors import GraphError

# Operations whose result is their input, as far as numbers go.
_COPIES = frozenset({"contiguous", "clone", "detach", "alias", "lift", "lift_fresh", "lift_fresh_copy", "type_as"})


@dataclass(frozen=True)
class Result:
    """The result of operation `number`; 0 is the input."""

    number: int


@dataclass(frozen=True)
class Batch:
    """A number that follows from the number n of images: n * times + plus."""

    times: int
    plus: int = 0


Size = int | Batch
Sizes = tuple[Size, ...]


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation.

    Attributes:
        name: name in torchvision's feature extraction.
        target: name of the torch operation, such as `conv2d`.
        overload: its full name, such as `conv2d.padding`.
        arguments: by their names in torch; results as `Result`, constant tensors as tensors.
        sizes: the result's size; None if it is a list.
        called: the module or function that the user's code called, for messages.
        is_float: whether the result has floating-point numbers.
    """

    name: str
    target: str
    overload: str
    arguments: dict[str, Any]
    sizes: Sizes | None
    called: str
    is_float: bool


@dataclass(frozen=True, eq=False)
class Program:
    """The operations of a module; the first one is the input."""

    operations: tuple[Operation, ...]
    output: Any  # a Result, or a structure of results
    dtype: torch.dtype


def export_operations(module: nn.Module, channels: int, size: tuple[int, int]) -> Program:
    """The operations of a module.

    Args:
        module: a network in evaluation mode.
        channels: channels of its input.
        size: height and width of its input.

    Raises:
        GraphError: torch cannot export the module, or it takes more than one input.
    """
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    images = torch.rand(2, channels, *size, dtype=dtype, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch's notes on its own internals
        exported = _export(module, images)
        regions.inline(exported.graph_module)
        if not in_place.replace_writes(exported.graph):
            exported = _export(module, images).run_decompositions({})
            regions.inline(exported.graph_module)
        composites.join(exported.graph)
        return _Reader(exported, dtype).read()


def _export(module: nn.Module, images: Tensor) -> ExportedProgram:
    try:
        return export(module, (images,), dynamic_shapes=({0: Dim("batch")},), strict=False)
    except Exception as error:  # torch.export runs the user's code, which can raise anything
        name = type(module).__name__
        _require_size(module, images)
        if "Constraints violated" in str(error):
            raise GraphError(
                f"{name} turns the batch size into a constant, as len(x) and int(x.shape[0]) do; use x.shape[0]"
            ) from error
        raise GraphError(f"{name} cannot be exported by torch.export: {_first_line(error)}") from error


def _require_size(module: nn.Module, images: Tensor) -> None:
    """Refuse a module that cannot run on images of this size, as one with a fully connected layer for another size."""
    try:
        with suppress(TypeError, AttributeError, LookupError):  # the export says more about these
            module(images.clone())
    except (RuntimeError, AssertionError, ValueError) as error:
        channels, height, width = images.shape[1:]
        raise GraphError(
            f"{type(module).__name__} does not accept inputs of {channels} x {height} x {width}: {_first_line(error)}; give the "
            "input size that it was made for, with --crop"
        ) from error


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))


class _Reader:
    """Reads the nodes of an exported program one by one."""

    def __init__(self, exported: ExportedProgram, dtype: torch.dtype) -> None:
        self.exported = exported
        self.dtype = dtype
        self.values: dict[fx.Node, Any] = {}
        self.rows: list[tuple[fx.Node, dict[str, Any]]] = []
        self.symbol: Any = None
        self.output: Any = None

    def read(self) -> Program:
        """All operations."""
        constants = _constants(self.exported)
        for node in self.exported.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = constants[node.name] if node.name in constants else self._input(node)
            elif node.op == "output":
                self.output = self._argument(node.args[0])
            elif node.op == "call_function":
                self._call(node)
            else:
                self.values[node] = self._attribute(node)
        names = naming.names([node for node, _ in self.rows])
        rows = zip(names, self.rows, strict=True)
        return Program(tuple(self._operation(name, *row) for name, row in rows), self.output, self.dtype)

    def _input(self, node: fx.Node) -> Result | None:
        value = node.meta.get("val")
        if self.rows and isinstance(value, Tensor):
            raise GraphError(f"the model takes more than one input: {node.name!r}")
        if not isinstance(value, Tensor):
            return None  # an optional argument that is not given
        self.symbol = value.shape[0]
        return self._append(node, {})

    def _append(self, node: fx.Node, arguments: dict[str, Any]) -> Result:
        self.rows.append((node, arguments))
        return Result(len(self.rows) - 1)

    def _attribute(self, node: fx.Node) -> Tensor:
        value = getattr(self.exported.graph_module, str(node.target), None)
        if not isinstance(value, Tensor):
            raise GraphError(f"{node.target!r} uses data-dependent control flow, which is not supported")
        return value

    def _call(self, node: fx.Node) -> None:
        value = node.meta.get("val")
        if value is None and not node.users:
            return  # a check
        if isinstance(value, torch.SymInt | int):
            self.values[node] = self._number(value)
            return
        if not isinstance(node.target, torch._ops.OpOverload) and node.target is not operator.getitem:
            raise GraphError(f"{node.name!r} calls {node.target}, which is not an operation on tensors")
        arguments = _bind(node, self._argument)
        if not any(_contains(arguments, kind) for kind in (Result, Batch)):
            self.values[node] = _fold(node.target, arguments)
        else:
            self.values[node] = self._copied(node, arguments) or self._append(node, arguments)

    def _copied(self, node: fx.Node, arguments: dict[str, Any]) -> Result | None:
        """The result that a node only copies."""
        source = next(iter(arguments.values()))
        if not isinstance(source, Result):
            return None
        name = _target(node)
        before, after = node.args[0].meta["val"], node.meta["val"]  # type: ignore[union-attr]
        if not (isinstance(before, Tensor) and isinstance(after, Tensor)) or before.dtype != after.dtype:
            return None
        same = name in _COPIES or name in ("to", "_to_copy") or (name == "slice" and before.shape == after.shape)
        return source if same else None

    def _argument(self, value: Any) -> Any:  # noqa: ANN401 - any fx argument
        if isinstance(value, fx.Node):
            return self.values[value]
        if isinstance(value, list | tuple):
            return [self._argument(each) for each in value]
        if isinstance(value, dict):
            return {key: self._argument(each) for key, each in value.items()}
        return self._number(value) if isinstance(value, torch.SymInt) else value

    def _number(self, value: "torch.SymInt | int") -> Size:
        if isinstance(value, int) and not isinstance(value, torch.SymInt):
            return value
        expression, symbol = value.node.expr, self.symbol.node.expr
        at = [int(expression.subs(symbol, images)) for images in (2, 3, 8)]
        times = at[1] - at[0]
        if at[2] != at[0] + 6 * times:
            raise GraphError(
                f"a tensor size depends on the batch size as {expression}; only linear dependence is supported"
            )
        plus = at[0] - 2 * times
        return Batch(times, plus) if times else plus

    def _operation(self, name: str, node: fx.Node, arguments: dict[str, Any]) -> Operation:
        value = node.meta["val"]
        sizes = tuple(self._number(size) for size in value.shape) if isinstance(value, Tensor) else None
        overload = "getitem" if node.target is operator.getitem else str(node.target).removeprefix("aten.")
        if in_place.writes(node):
            overload = in_place.result_overload(overload)
        is_float = isinstance(value, Tensor) and value.is_floating_point()
        return Operation(name, _target(node), overload, arguments, sizes, naming.called(node), is_float)


def _constants(exported: ExportedProgram) -> dict[str, Any]:
    """Weights and other constants by the names of their placeholders."""
    constants: dict[str, Any] = {}
    for spec in exported.graph_signature.input_specs:
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER):
            owner = exported.state_dict if spec.target in exported.state_dict else exported.constants
            constants[spec.arg.name] = owner[str(spec.target)].detach()
        elif spec.kind is InputKind.CONSTANT_TENSOR:
            constants[spec.arg.name] = exported.constants[str(spec.target)].detach()
    return constants


def _target(node: fx.Node) -> str:
    if node.op == "placeholder":
        return "input"
    if composites.PARTS in node.meta:
        return composites.LOCAL_RESPONSE_NORM
    if node.target is operator.getitem:
        return "getitem"
    name = str(node.target).removeprefix("aten.").partition(".")[0]
    return name.removesuffix("_") if in_place.writes(node) else name


def _bind(node: fx.Node, convert: Callable[[Any], Any]) -> dict[str, Any]:
    """The arguments of a call by name, with defaults."""
    if composites.PARTS in node.meta:
        return {name: convert(value) for name, value in node.meta[composites.PARTS].items()}
    schema = in_place.result_schema_of(node)
    if schema is None:
        return {"self": convert(node.args[0]), "index": node.args[1]}
    arguments = {argument.name: argument.default_value for argument in schema.arguments}
    given = zip((argument.name for argument in schema.arguments), node.args, strict=False)
    arguments.update({name: convert(value) for name, value in given})
    arguments.update({name: convert(value) for name, value in node.kwargs.items()})
    return arguments


def _contains(value: Any, kind: type) -> bool:  # noqa: ANN401 - any argument
    if isinstance(value, dict):
        return any(_contains(each, kind) for each in value.values())
    if isinstance(value, list | tuple):
        return any(_contains(each, kind) for each in value)
    return isinstance(value, kind)


def _fold(target: Any, arguments: dict[str, Any]) -> Any:  # noqa: ANN401 - any operation and result
    """The result of an operation on constants."""
    if target is operator.getitem:
        return arguments["self"][arguments["index"]]
    return target(**{name: value.clone() if isinstance(value, Tensor) else value for name, value in arguments.items()})


def results(value: Any) -> Iterator[Result]:  # noqa: ANN401 - any argument
    """The results in an argument, in order."""
    if isinstance(value, Result):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from results(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from results(each)
