"""Constructors by name. Takes a model's source such as `torchvision://resnet18?weights=FILE`, gives a module and its entry."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import resources
from typing import Any

import torch
import torchvision.models
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from workers.core.preprocess import Preprocessing
from workers.errors import ModelError, nearest
from workers.host.retrying import reason
from workers.models import zfnet
from workers.spec.families import weights_file
from workers.spec.run import Interpolation, ModelSpec

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

LARGEST_BYTES = 20_000_000_000  # the largest of torchvision's networks has 2.6 GB

OWN: Mapping[str, Callable[..., nn.Module]] = {"zfnet": zfnet.zfnet, "zfnet-mini": zfnet.zfnet_mini}
HEADS = {"zfnet": "fc8.bias", "zfnet-mini": "fc7.bias"}  # its length is the number of classes


@dataclass(frozen=True)
class Architecture:
    """A constructor and its arguments, as plain values.

    Attributes:
        family: deconvoy or torchvision.
        name: name of the constructor.
        kwargs: its arguments, sorted.
    """

    family: str
    name: str
    kwargs: tuple[tuple[str, bool | int | float | str], ...]


@dataclass(frozen=True)
class Entry:
    """Where the weights come from and what belongs to them."""

    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    file: str | None = None
    download: Callable[[], Mapping[str, Tensor]] = dict


def resolve(spec: ModelSpec) -> tuple[Architecture, Entry]:
    """Understand a model's source.

    Raises:
        ModelError: no such name, or no such weights.
    """
    family, _, rest = spec.source.partition("://")
    name, _, query = rest.partition("?")
    wanted = query.removeprefix("weights=")
    file = weights_file(spec.source)
    kwargs, entry = _own(name, file) if family == "deconvoy" else _torchvision(name, wanted, file)
    if "weights" in spec.kwargs:
        raise ModelError(f"model.kwargs: weights are named in the source: {family}://{name}?weights=FILE")
    given = tuple(sorted({**kwargs, **spec.kwargs}.items()))
    return Architecture(family, name, given), _overridden(entry, spec)


def build(architecture: Architecture) -> nn.Module:
    """The module, in evaluation mode, with whatever weights its constructor gives it.

    Raises:
        ModelError: the constructor refuses its arguments.
    """
    make = _constructor(architecture)
    try:
        module: nn.Module = make(**dict(architecture.kwargs))
    except Exception as error:  # a constructor raises anything for arguments that it does not expect
        raise ModelError(
            f"{architecture.name} cannot be built with {dict(architecture.kwargs)}: {reason(error)}"
        ) from error
    return module.eval().requires_grad_(False)


def size_bytes(architecture: Architecture) -> int:
    """Size of a network's numbers; nothing is allocated to find out.

    Raises:
        ModelError: the constructor refuses its arguments, or the network would be larger than any that is known.
    """
    with torch.device("meta"):
        size: int = sum(tensor.nbytes for tensor in build(architecture).state_dict().values())
    if size > LARGEST_BYTES:
        raise ModelError(
            f"{architecture.name} with {dict(architecture.kwargs)} has {size / 1e9:,.1f} GB of weights; "
            f"at most {LARGEST_BYTES / 1e9:,.0f} GB are supported"
        )
    return size


def _constructor(architecture: Architecture) -> Callable[..., nn.Module]:
    if architecture.family != "deconvoy":
        return partial(torchvision.models.get_model, architecture.name, weights=None)
    if architecture.name not in OWN:
        raise ModelError(f"no model {architecture.name!r}; {nearest(architecture.name, OWN)}")
    return OWN[architecture.name]


def fitted(architecture: Architecture, state: Mapping[str, Tensor]) -> Architecture:
    """The architecture with as many classes as the weights have, of one of ours whose number is not given."""
    head = HEADS.get(architecture.name, "") if architecture.family == "deconvoy" else ""
    if head not in state or not state[head].dim() or "classes" in dict(architecture.kwargs):
        return architecture
    return replace(
        architecture, kwargs=tuple(sorted({**dict(architecture.kwargs), "classes": len(state[head])}.items()))
    )


def _own(name: str, file: str | None) -> tuple[dict[str, Any], Entry]:
    if name not in OWN:
        raise ModelError(f"no model deconvoy://{name}; {nearest(name, OWN)}")
    if name == "zfnet-mini":
        folder = resources.files("workers") / "pretrained" / "zfnet-mini"
        meta = json.loads((folder / "meta.json").read_text())
        preprocessing = Preprocessing(184, 160, IMAGENET_MEAN, IMAGENET_STD, Interpolation.BICUBIC)
        return {}, Entry(preprocessing, tuple(meta["classes"]), file or str(folder / "model.safetensors"))
    if file is None:
        raise ModelError("deconvoy://zfnet ships no weights: give deconvoy://zfnet?weights=FILE.safetensors")
    return {}, Entry(Preprocessing(256, 224, IMAGENET_MEAN, IMAGENET_STD, Interpolation.BILINEAR), (), file)


def _torchvision(name: str, wanted: str, file: str | None) -> tuple[dict[str, Any], Entry]:
    known = torchvision.models.list_models(torchvision.models)
    if name not in known:
        raise ModelError(f"no model torchvision://{name}; {nearest(name, known)}")
    enum = torchvision.models.get_model_weights(name)
    bare = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    if file is not None:
        return bare, _entry(next(iter(enum)), file)
    if wanted and wanted not in enum.__members__ and wanted != "DEFAULT":
        raise ModelError(f"no weights {wanted!r} of {name}: a file, or one of {', '.join(enum.__members__)}")
    weights = enum[wanted] if wanted in enum.__members__ else enum.DEFAULT
    arguments = {"transform_input": True} if name in ("googlenet", "inception_v3") else {}
    return {**bare, **arguments}, _entry(weights, None)


def _entry(weights: WeightsEnum, file: str | None) -> Entry:
    transform = weights.transforms()
    preprocessing = Preprocessing(
        resize=transform.resize_size[0],
        crop=transform.crop_size[0],
        mean=tuple(transform.mean),
        std=tuple(transform.std),
        interpolation=Interpolation(transform.interpolation.value),
    )
    names = tuple(weights.meta.get("categories", ()))
    return Entry(preprocessing, names, file, partial(weights.get_state_dict, progress=False, check_hash=True))


def _overridden(entry: Entry, spec: ModelSpec) -> Entry:
    old = entry.preprocessing
    new = Preprocessing(
        resize=spec.resize or max(old.resize, spec.crop or 0),
        crop=spec.crop or min(old.crop, spec.resize or old.crop),
        mean=spec.mean or old.mean,
        std=spec.std or old.std,
        interpolation=spec.interpolation or old.interpolation,
    )
    if new.crop > new.resize:
        raise ModelError(
            f"model.crop {new.crop} is larger than model.resize {new.resize}: the crop lies in the resized image"
        )
    if min(new.std) <= 0:
        raise ModelError(f"model.std {new.std} must be above 0 in every channel")
    return Entry(new, entry.class_names, entry.file, entry.download)
