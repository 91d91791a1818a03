"""Architectures by name. Takes a source such as `torchvision://resnet18?weights=FILE`, gives a module and its weights' entry."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from workers.core.preprocess import Preprocessing, both
from workers.errors import ModelError
from workers.host.retrying import reason
from workers.models.families.family import Architecture, WeightsEntry
from workers.models.families.registry import family_of
from workers.models.unallocated import without_weights
from workers.spec import families
from workers.spec.parts import Fit, ModelSpec, Pair

BITS = 8
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
    classes = {scheme.classes: spec.num_classes} if spec.num_classes else {}
    kwargs = tuple(sorted({**dict(entry.kwargs), **classes, **spec.kwargs}.items()))
    preprocessing = override(entry.preprocessing, spec)
    return Architecture(scheme.name, entry.pinned or name, kwargs), replace(entry, preprocessing=preprocessing)


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
    """The preprocessing of the weights, overridden by the spec.

    Raises:
        ModelError: the values of the spec do not fit together.
    """
    resize, crop, fit = _sizes(old, spec)
    new = Preprocessing(
        resize=resize,
        crop=crop,
        mean=spec.mean or old.mean,
        std=spec.std or old.std,
        interpolation=spec.interpolation or old.interpolation,
        fit=fit,
        pad=(old.pad if spec.pad is None else spec.pad) if fit is Fit.LETTERBOX else "mean",
        bits=spec.bits or old.bits,
    )
    _check(new)
    return new


def _sizes(old: Preprocessing, spec: ModelSpec) -> tuple[int | Pair, int | Pair, Fit]:
    """The size after resizing, the size of the input, and how the former is reached."""
    fit = spec.fit or (Fit.LETTERBOX if spec.pad is not None else Fit.STRETCH if spec.crop == "none" else old.fit)
    _check_fit(fit, spec)
    is_new = _is_new(fit, old, spec)
    if spec.crop == "none" or (is_new and spec.crop is None):
        whole = both(spec.resize or old.crop)
        return whole, _plain(whole), fit
    crop = spec.crop or _smaller(old.crop, spec.resize or old.crop)
    resize = spec.resize or (crop if is_new else _larger(old.resize, spec.crop or old.crop))
    has_sides = is_new or fit is not Fit.STRETCH or isinstance(old.resize, tuple)
    return (both(resize) if has_sides else resize), _plain(crop), fit


def _check_fit(fit: Fit, spec: ModelSpec) -> None:
    if spec.crop == "none" and fit is Fit.COVER:
        raise ModelError("model.crop none needs model.fit stretch or letterbox: cover gives images of different sizes")
    if spec.pad is not None and fit is not Fit.LETTERBOX:
        raise ModelError(f"model.pad {spec.pad} needs model.fit letterbox: {fit} pads nothing")


def _is_new(fit: Fit, old: Preprocessing, spec: ModelSpec) -> bool:
    """Whether the spec says how an image is resized, and not only what the weights say."""
    if spec.fit is None and spec.pad is None:
        return False
    return spec.resize is not None or fit is not old.fit or isinstance(old.resize, int)


def _plain(size: int | Pair) -> int | Pair:
    """A square size as its side."""
    return size[0] if isinstance(size, tuple) and size[0] == size[1] else size


def _smaller(size: int | Pair, limit: int | Pair) -> int | Pair:
    """A size, at most a limit in each direction."""
    height, width = map(min, both(size), both(limit))
    return height, width


def _larger(size: int | Pair, least: int | Pair) -> int | Pair:
    """A size, at least another one in each direction."""
    if isinstance(size, int):
        return max(size, *both(least))
    height, width = map(max, size, both(least))
    return height, width


def _check(new: Preprocessing) -> None:
    if new.fit is not Fit.LETTERBOX and any(map(int.__gt__, new.size, both(new.resize))):
        raise ModelError(
            f"model.crop {describe(new.crop)} is larger than model.resize {describe(new.resize)}; "
            "the crop must fit into the resized image"
        )
    if len(new.mean) != len(new.std):
        raise ModelError(
            f"model.mean has length {len(new.mean)} and model.std length {len(new.std)}; "
            "give both one value for each channel of the model's input"
        )
    if min(new.std) <= 0:
        raise ModelError(f"model.std {new.std} must be above 0 in every channel")
    if new.bits != BITS and new.channels not in (1, 3):
        raise ModelError(
            f"model.bits {new.bits} is supported for 1 and 3 channels; model.mean has {new.channels} values"
        )


def describe(size: int | Pair) -> str:
    """A size in words."""
    return str(size) if isinstance(size, int) else f"{size[0]} x {size[1]}"
