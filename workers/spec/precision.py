"""The precision of jobs that only run in float32. Takes a spec, gives it back or raises ValueError."""

from typing import TypeVar

from workers.spec.parts import NetworkSpec, Precision

AnyNetworkSpec = TypeVar("AnyNetworkSpec", bound=NetworkSpec)


def require_float32(spec: AnyNetworkSpec, kind: str) -> AnyNetworkSpec:
    """Return the spec of a kind of job that supports float32 only.

    Raises:
        ValueError: the spec has another precision.
    """
    precision = spec.resources.precision
    if precision is not Precision.FLOAT32:
        raise ValueError(f"resources.precision: {kind} supports float32 only, not {precision}; remove the key")
    return spec
