"""The networks of timm. Takes a name such as `resnet50.a1_in1k`, gives its module and an entry for its weights.

Also takes the config.json that timm writes to the Hugging Face Hub, and gives its module, preprocessing and class names.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from workers.core.preprocess import Preprocessing
from workers.errors import ModelError, nearest
from workers.models import snapshots
from workers.models.families.family import Kwargs, WeightsEntry, without_numbers
from workers.spec.families import TIMM
from workers.spec.parts import Fit, Interpolation

FITS = {"center": Fit.COVER, "squash": Fit.STRETCH, "border": Fit.LETTERBOX}  # by timm's name of its crop mode
INSTALL = "timm is not installed: pip install 'deconvoy[timm]'"
ARCHITECTURE = "architecture"  # key of the config.json that timm writes
# Arguments of create_model that name files or other weights. A source names them, so that a service can check them.
_FILES = (
    "cache_dir",
    "checkpoint_path",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "pretrained_model_args",
)


class Timm:
    """`timm://NAME`, where a name may end in the tag of a set of weights, as timm writes it."""

    scheme = TIMM

    def entry(self, name: str, weights: str) -> WeightsEntry:
        """The weights of a file, or those that timm downloads, with the preprocessing of timm's configuration."""
        config = _configuration(name)
        return WeightsEntry(
            preprocessing_of(f"timm://{name}", config), (), weights or None, partial(_download, name, config)
        )

    def build(self, name: str, kwargs: Kwargs) -> nn.Module:
        """The module; see `Family`."""
        return _build(name, kwargs)

    def implied_kwargs(self, name: str, state: Mapping[str, Tensor]) -> Kwargs:
        """The number of classes and of channels; see `Family`."""
        config = _configuration(name)
        return {**classes_of(config, state), **channels_of(config, state)}


def build_saved(source: str, config: Mapping[str, Any], kwargs: Kwargs) -> nn.Module:
    """The module of a config.json; `kwargs` replace some of its arguments.

    Raises:
        ModelError: timm has no such network, or an argument names a file.
        Exception: any error of a constructor for arguments that it does not expect.
    """
    classes = saved_configuration(source, config)["num_classes"]
    return _build(config[ARCHITECTURE], {"num_classes": classes, **(config.get("model_args") or {}), **kwargs})


def saved_configuration(source: str, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Timm's configuration of weights, from a config.json.

    Raises:
        ModelError: timm is not installed, or has no such network.
    """
    timm, name = _timm(), str(config[ARCHITECTURE])
    if not timm.is_model(name):
        raise ModelError(
            f"{source} needs the network {name!r}, which timm does not have; {nearest(name, timm.list_models())}"
        )
    saved = dict(config.get("pretrained_cfg") or config)
    known = {**timm.get_pretrained_cfg(name.partition(".")[0]).to_dict(), **saved}
    classes = config.get("num_classes", known["num_classes"])
    return {**known, **timm.data.resolve_data_config({}, pretrained_cfg=known), "num_classes": classes}


def saved_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the classes in a config.json, in output order; empty if it has none."""
    names = config.get("label_names") or ()
    words = config.get("label_descriptions") or {}
    ordered = [names[key] for key in sorted(names, key=int)] if isinstance(names, Mapping) else names
    return without_numbers(str(words.get(name, name)) for name in ordered)


def preprocessing_of(source: str, config: Mapping[str, Any]) -> Preprocessing:
    """The preprocessing of timm's configuration of weights.

    Raises:
        ModelError: timm crops its images in an unknown way.
    """
    channels, height, width = config["input_size"]
    mode, share = config.get("crop_mode") or "center", config.get("crop_pct", 0.875)
    if mode not in FITS:
        raise ModelError(f"{source} crops images with timm's mode {mode!r}; {', '.join(FITS)} are supported")
    resize = math.floor(height / share), math.floor(width / share)
    by_short_side = mode == "center" and resize[0] == resize[1]
    return Preprocessing(
        resize=resize[0] if by_short_side else resize,
        crop=height if height == width else (height, width),
        mean=_per_channel(config["mean"], channels),
        std=_per_channel(config["std"], channels),
        interpolation=Interpolation(config["interpolation"]),
        fit=Fit.STRETCH if by_short_side else FITS[mode],
    )


def _per_channel(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """A value for each channel; a single one is that of all channels."""
    return tuple(values) * channels if len(values) == 1 else tuple(values)


def channels_of(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> Kwargs:
    """The number of channels that weights take, if it differs from the configuration's."""
    first = config.get("first_conv") or ""
    weight = state.get(f"{first}.weight") if isinstance(first, str) else None
    if weight is None or weight.dim() != 4 or weight.shape[1] == config["input_size"][0]:
        return {}
    return {"in_chans": weight.shape[1]}


def classes_of(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> Kwargs:
    """The number of classes of weights, if it differs from the configuration's."""
    heads = config.get("classifier") or ()
    head = heads if isinstance(heads, str) else next(iter(heads), "")
    weight = state.get(f"{head}.weight")
    if weight is None or weight.dim() < 2 or len(weight) == config.get("num_classes"):
        return {}
    return {"num_classes": len(weight)}


def _build(name: str, kwargs: Mapping[str, Any]) -> nn.Module:
    named = [key for key in kwargs if key in _FILES]
    if named:
        raise ModelError(
            f"timm's argument {named[0]!r} names other weights or files; "
            "name the weights in the source instead, with ?weights=FILE"
        )
    module: nn.Module = _timm().create_model(name, pretrained=False, **kwargs)
    return module


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError:
        raise ModelError(INSTALL) from None
    return timm


def _configuration(name: str) -> Mapping[str, Any]:
    """Timm's configuration of a network and its weights.

    Raises:
        ModelError: timm is not installed, or has no such network.
    """
    timm = _timm()
    if not timm.is_model(name):
        raise ModelError(f"no model timm://{name}; {nearest(name.partition('.')[0], timm.list_models())}")
    try:
        values: Mapping[str, Any] = timm.get_pretrained_cfg(name).to_dict()
    except RuntimeError:
        tags = timm.list_pretrained(f"{name.partition('.')[0]}.*")
        raise ModelError(f"no weights timm://{name}; {nearest(name, tags)}") from None
    return values


def _download(name: str, config: Mapping[str, Any]) -> Mapping[str, Tensor]:
    if not (config.get("hf_hub_id") or config.get("url") or config.get("file")):
        raise ModelError(f"timm has no weights for {name}: give timm://{name}?weights=FILE")
    with snapshots.quiet():
        state: Mapping[str, Tensor] = _timm().create_model(name, pretrained=True).state_dict()
    return state
