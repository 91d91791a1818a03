"""Classifiers of transformers. Takes the documents of a snapshot, gives a module, its preprocessing and its class names."""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from torch import nn

from workers.core.preprocess import Preprocessing
from workers.errors import ModelError, nearest
from workers.models.families.family import Kwargs, without_numbers
from workers.models.snapshots import INSTALL
from workers.spec.families import HUB
from workers.spec.parts import Interpolation, Pair

TYPE = "model_type"  # key of config.json that transformers writes

# The convolutional classifiers. Configurations of other networks can name further files, such as attention kernels.
TYPES = (
    "bit",
    "convnext",
    "convnextv2",
    "focalnet",
    "hgnet_v2",
    "mobilenet_v1",
    "mobilenet_v2",
    "regnet",
    "resnet",
)
_NAMES = {"id2label", "label2id"}  # keys of the names of the classes
_LABELS = "num_labels"  # transformers' name of the number of classes, which it saves as the names of the classes
# By Pillow's numbers. Pillow's nearest neighbour, 0, differs from torchvision's.
_INTERPOLATIONS = {2: Interpolation.BILINEAR, 3: Interpolation.BICUBIC}
_WARPED = 384  # from this side on, ConvNeXt's images are stretched to a square


def require_known(source: str, config: Mapping[str, Any]) -> None:
    """Raise an error unless the network is one of the classifiers that can be built.

    Raises:
        ModelError: transformers has no such classifier, or it is not convolutional.
    """
    kind = config[TYPE]
    if kind not in TYPES:
        raise ModelError(
            f"{source} is a network of the type {kind!r}, which is not supported; {nearest(str(kind), TYPES, len(TYPES))}"
        )
    names = config.get("architectures") or ()
    if names and not any(str(name).endswith("ForImageClassification") for name in names):
        raise ModelError(f"{source} is a {names[0]}; only image classifiers are supported")


def build(source: str, config: Mapping[str, Any], kwargs: Kwargs) -> nn.Module:
    """The module of a configuration; `kwargs` replace some of its keys.

    Raises:
        ModelError: the network is unknown, or a replaced key does not exist.
        Exception: any error of a configuration or a module for values that it does not expect.
    """
    require_known(source, config)
    library = _transformers()
    kind = library.CONFIG_MAPPING[config[TYPE]]
    changes = {_LABELS if key == HUB.classes else key: value for key, value in kwargs.items()}
    known = {*kind().to_dict(), _LABELS} - {"dtype"}  # weights are float32
    unknown = [key for key in changes if key not in known]
    if unknown:
        raise ModelError(f"model.kwargs: {source} has no setting {unknown[0]!r}; {nearest(unknown[0], known)}")
    if _LABELS in changes:
        known -= _NAMES
    # Other keys are not used: some, such as `attn_implementation`, make transformers load code from other repositories.
    settings = kind.from_dict({key: value for key, value in {**config, **changes}.items() if key in known})
    module: nn.Module = library.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(settings)](settings)
    return module


def class_names_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the classes, in output order; empty if they are only numbered."""
    labels = config.get("id2label") or {}
    names = {int(number): str(label) for number, label in labels.items()}
    return without_numbers(names[number] for number in sorted(names))


def preprocessing_of(source: str, prepared: Mapping[str, Any]) -> Preprocessing:
    """The preprocessing of a preprocessor_config.json.

    Raises:
        ModelError: it does more than resize, crop the centre, and scale.
    """
    name = str(prepared.get("image_processor_type") or prepared.get("feature_extractor_type"))
    kind = name.removesuffix("Fast").removesuffix("Pil").replace("FeatureExtractor", "ImageProcessor")
    if kind not in _SIZES:
        raise ModelError(f"{source} prepares images with {name}, which is not supported; {nearest(kind, _SIZES)}")
    processor = getattr(_transformers(), kind).from_dict(dict(prepared))  # transformers fills in defaults
    resize, crop = _SIZES[kind](source, processor)
    if processor.resample not in _INTERPOLATIONS:
        raise ModelError(
            f"{source} resizes images with Pillow's filter {processor.resample!r}; only 2 (bilinear) and 3 (bicubic) are "
            "supported"
        )
    mean, std = _scale(processor)
    return Preprocessing(resize, crop, mean, std, _INTERPOLATIONS[int(processor.resample)])


def _shrunk(source: str, processor: Any) -> tuple[int | Pair, int]:  # noqa: ANN401 - transformers' own value
    """ConvNeXt's sizes: the crop, and a resize that is larger by a factor, or that stretches images to the crop."""
    side = int(processor.size["shortest_edge"])
    if not processor.do_resize or processor.do_center_crop:
        raise ModelError(f"{source} does not resize images, or crops them twice, which is not supported")
    return ((side, side) if side >= _WARPED else int(side / processor.crop_pct)), side


def _cropped(source: str, processor: Any) -> tuple[int | Pair, int]:  # noqa: ANN401 - transformers' own value
    """The sizes of a resize of the short side and a square centre crop."""
    size, crop = processor.size, processor.crop_size
    if not (processor.do_resize and processor.do_center_crop) or not size["shortest_edge"]:
        raise ModelError(
            f"{source} uses unsupported preprocessing; only a resize of the short side with a centre crop is supported"
        )
    if crop["height"] != crop["width"]:
        raise ModelError(f"{source} crops images to {crop['height']} x {crop['width']}; only squares are supported")
    return int(size["shortest_edge"]), int(crop["height"])


_SIZES: Mapping[str, Callable[[str, Any], tuple[int | Pair, int]]] = {
    "BitImageProcessor": _cropped,
    "ConvNextImageProcessor": _shrunk,
    "MobileNetV1ImageProcessor": _cropped,
    "MobileNetV2ImageProcessor": _cropped,
}


def _scale(processor: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:  # noqa: ANN401 - transformers' own value
    """Mean and standard deviation on a scale of 0 to 1, whatever the processor's own scale is."""
    largest = 255 * (processor.rescale_factor if processor.do_rescale else 1)
    means, stds = processor.image_mean, processor.image_std
    if not processor.do_normalize:
        means, stds = (0.0,) * 3, (1.0,) * 3
    pairs = list(zip(means, stds, strict=True))
    return tuple(float(mean) / largest for mean, _ in pairs), tuple(float(std) / largest for _, std in pairs)


def _transformers() -> ModuleType:
    try:
        import transformers
    except ImportError:
        raise ModelError(f"transformers is not installed: {INSTALL}") from None
    library: ModuleType = transformers
    return library
