"""Rules for functions of each activation. Takes an operation, gives its node; see `lowering`."""

from workers.core import rectifiers
from workers.core.lowering import Lowering, Place
from workers.core.operations import Operation
from workers.core.rules.maps import constant
from workers.core.steps import Step
from workers.errors import NoStepError


def rectifier(lowering: Lowering, operation: Operation) -> Place:
    """A function of torch's that is in `rectifiers.FUNCTIONS`."""
    source, *arguments = operation.arguments.values()
    place, layout = lowering.map_of(source)
    if not all(value is None or isinstance(value, bool | int | float | str) for value in arguments):
        raise NoStepError("its arguments depend on the image")
    step = _known(operation.target, tuple(arguments))
    return lowering.emit(operation, step, [place.node], lowering.shape(place.node), layout)


def _known(name: str, arguments: tuple[rectifiers.Argument, ...]) -> Step:
    """The step of a function, under its usual name if it has one: torch's ReLU6 is a hard tangent from 0 to 6."""
    if name == "hardtanh" and arguments == (0, 6):
        return rectifiers.Rectifier("relu6")
    if name in ("clamp_min", "clamp") and arguments[0] == 0 and not any(arguments[1:]):
        return rectifiers.Rectifier("relu")
    if name == "elu":
        return rectifiers.Rectifier("elu", _elu(arguments))
    return rectifiers.Rectifier("clamp" if name == "clamp_min" else name, arguments)


def _elu(arguments: tuple[rectifiers.Argument, ...]) -> tuple[rectifiers.Argument, ...]:
    if arguments[1:] != (1, 1):
        raise NoStepError(f"its scales are {arguments[1:]}")
    return arguments[:1]


def prelu(lowering: Lowering, operation: Operation) -> Place:
    """`prelu`."""
    node = lowering.plain_of(operation.arguments["self"])
    step = rectifiers.ParametricRectifier(constant(operation.arguments["weight"], "slope"))
    return lowering.emit(operation, step, [node], lowering.shape(node))
