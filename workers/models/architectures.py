"""Architectures by name. Takes a source such as `torchvision://resnet18?weights=FILE`, gives a module and its weights' entry."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from workers.core.preprocess import Preprocessing
from workers.errors import ModelError
from workers.host.retrying import reason
from workers.models.families.family import Architecture, WeightsEntry
from workers.models.families.registry import family_of
from workers.models.unallocated import without_weights
from workers.spec import families
from workers.spec.parts import ModelSpec

LARGEST_BYTES = 20_000_000_000  # torchvision's largest network has 2.6 GB


def resolve(spec: ModelSpec) -> tuple[Architecture, WeightsEntry]:
    """The architecture and weights that a model's source names.

    Raises:
        ModelError: the name or the weights are unknown.
    """
    scheme = families.scheme_of(spec.source)
    name = scheme.model(spec.source)
    entry = family_of(scheme.name).entry(name, families.weights_of(spec.source))
    if "weights" in spec.kwargs:
        example = families.with_weights(spec.source, "FILE")
        raise ModelError(f"model.kwargs: name the weights in the source instead: {example}")
    kwargs = tuple(sorted({**dict(entry.kwargs), **spec.kwargs}.items()))
    preprocessing = override(entry.preprocessing, spec)
    return Architecture(scheme.name, name, kwargs), replace(entry, preprocessing=preprocessing)


def build(architecture: Architecture) -> nn.Module:
    """The module in evaluation mode, with the weights of its constructor.

    Raises:
        ModelError: the constructor refuses its arguments.
    """
    family = family_of(architecture.family)
    try:
        module = family.build(architecture.name, dict(architecture.kwargs))
    except ModelError:
        raise
    except Exception as error:  # a constructor may raise anything for arguments that it does not expect
        raise ModelError(
            f"{architecture.name} cannot be built with {dict(architecture.kwargs)}: {reason(error)}"
        ) from error
    return module.eval().requires_grad_(False)


def outline(architecture: Architecture) -> Mapping[str, Tensor]:
    """The names and shapes of a network's weights, which are not allocated.

    Raises:
        ModelError: the constructor refuses its arguments, or the network would be too large.
    """
    with without_weights():
        state: Mapping[str, Tensor] = build(architecture).state_dict()
    size = size_bytes(state)
    if size > LARGEST_BYTES:
        raise ModelError(
            f"{architecture.name} with {dict(architecture.kwargs)} has {size / 1e9:,.1f} GB of weights; "
            f"at most {LARGEST_BYTES / 1e9:,.0f} GB are supported"
        )
    return state


def size_bytes(state: Mapping[str, Tensor]) -> int:
    """The size of tensors."""
    return sum(tensor.nbytes for tensor in state.values())


def complete(architecture: Architecture, state: Mapping[str, Tensor]) -> Architecture:
    """The architecture, completed by the arguments that follow from the weights; arguments in the spec win."""
    implied = family_of(architecture.family).implied_kwargs(architecture.name, state)
    kwargs = {**implied, **dict(architecture.kwargs)}
    return replace(architecture, kwargs=tuple(sorted(kwargs.items())))


def override(old: Preprocessing, spec: ModelSpec) -> Preprocessing:
    """The preprocessing of the weights, overridden by the spec."""
    new = Preprocessing(
        resize=spec.resize or max(old.resize, spec.crop or 0),
        crop=spec.crop or min(old.crop, spec.resize or old.crop),
        mean=spec.mean or old.mean,
        std=spec.std or old.std,
        interpolation=spec.interpolation or old.interpolation,
    )
    if new.crop > new.resize:
        raise ModelError(
            f"model.crop {new.crop} is larger than model.resize {new.resize}; the crop must fit into the resized image"
        )
    if min(new.std) <= 0:
        raise ModelError(f"model.std {new.std} must be above 0 in every channel")
    return new
