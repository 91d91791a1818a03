"""The detectors of torchvision. Takes a name such as `fasterrcnn_resnet50_fpn`, gives the part that computes feature maps."""

from functools import cache
from typing import Any

from torch import Tensor, nn

from workers.core.preprocess import Preprocessing
from workers.models.families.family import Kwargs
from workers.models.unallocated import without_weights
from workers.spec.parts import Interpolation

HEADS = ("rpn.", "roi_heads.", "head.")  # what finds boxes in the feature maps
# Torchvision froze the batch norms of these weights with an epsilon of 0, and loads them so.
_EPSILON = "eps"
_WITHOUT_EPSILON = tuple(f"{name}_resnet50_fpn" for name in ("fasterrcnn", "maskrcnn", "keypointrcnn", "retinanet"))


@cache
def names() -> frozenset[str]:
    """The names of all detectors."""
    from torchvision import models

    return frozenset(models.list_models(models.detection))


class Body(nn.Module):
    """A detector's backbone, with its feature pyramid if it has one. Its layers have their names in the detector."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The feature maps that the heads of the detector get."""
        maps: dict[str, Tensor] = self.backbone(images)
        return maps


def build(name: str, kwargs: Kwargs) -> nn.Module:
    """The body of a detector.

    Args:
        name: its name in torchvision.
        kwargs: arguments of its constructor, and `eps` for another epsilon of its batch norms.
    """
    others = {key: value for key, value in kwargs.items() if key != _EPSILON}
    body = Body(_build_whole(name, others).backbone)
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d) and _EPSILON in kwargs:
            module.eps = float(kwargs[_EPSILON])
    return body


def kwargs_of(name: str, weights: str) -> tuple[tuple[str, float], ...]:
    """The arguments that torchvision's weights of a name need."""
    return ((_EPSILON, 0.0),) if name in _WITHOUT_EPSILON and weights == "COCO_V1" else ()


def preprocessing_of(name: str) -> Preprocessing:
    """The middle square of an image, at the scale of the detector.

    The detector itself sees the whole image: it scales the short side to the same size, but less if the long side would
    exceed a limit, and interpolates without antialiasing.
    """
    with without_weights():
        transform = _build_whole(name, {}).transform
    side = transform.min_size[-1]
    mean, std = tuple(transform.image_mean), tuple(transform.image_std)
    return Preprocessing(side, side, mean, std, Interpolation.BILINEAR)


def _build_whole(name: str, kwargs: Kwargs) -> Any:  # noqa: ANN401 - torchvision's detectors have no common type
    from torchvision import models

    return models.get_model(name, weights=None, weights_backbone=None, **kwargs)
