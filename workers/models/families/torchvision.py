"""The networks of torchvision. Takes a name such as `resnet18`, gives its module and an entry for its weights.

torchvision takes seconds to load, so it is imported only for its own networks.
"""

from collections.abc import Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from workers.core.preprocess import Preprocessing
from workers.errors import ModelError, nearest
from workers.models.families import detectors
from workers.models.families.family import Kwargs, WeightsEntry, classes_of
from workers.models.unallocated import without_weights
from workers.spec.families import TORCHVISION
from workers.spec.parts import Interpolation

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

BARE = (("aux_logits", False), ("init_weights", False))  # arguments that build the inceptions without auxiliary heads
INCEPTIONS = ("googlenet", "inception_v3")


@cache
def segmenters() -> tuple[str, ...]:
    """The names of all segmentation networks."""
    from torchvision import models

    return tuple(models.list_models(models.segmentation))


@cache
def names() -> tuple[str, ...]:
    """The names of all networks."""
    from torchvision import models

    return (*models.list_models(models), *segmenters(), *sorted(detectors.names()))


class Torchvision:
    """`torchvision://NAME`: classifiers, segmentation networks, and the bodies of detectors."""

    scheme = TORCHVISION

    def entry(self, name: str, weights: str) -> WeightsEntry:
        """A file with the preprocessing of torchvision's first weights, or torchvision's weights by name; see `Family`."""
        from torchvision import models

        if name not in names():
            raise ModelError(f"no model torchvision://{name}; {nearest(name, names())}")
        enum = models.get_model_weights(name)
        bare = BARE if name in INCEPTIONS else ()
        if weights and not self.scheme.owns(weights):
            return _entry(name, next(iter(enum)), weights, bare)
        if weights and weights not in enum.__members__ and weights != "DEFAULT":
            known = ", ".join(enum.__members__)
            raise ModelError(f"no weights {weights!r} for {name}; give a file, or one of {known}")
        entry = enum[weights] if weights in enum.__members__ else enum.DEFAULT
        inception = (*bare, ("transform_input", True)) if bare else ()
        return _entry(name, entry, None, (*inception, *detectors.kwargs_of(name, entry.name)))

    def build(self, name: str, kwargs: Kwargs) -> nn.Module:
        """The module; see `Family`."""
        from torchvision import models

        if name in detectors.names():
            return detectors.build(name, kwargs)
        parts = {"weights_backbone": None} if name in segmenters() else {}
        module: nn.Module = models.get_model(name, weights=None, **parts, **kwargs)
        return module

    def implied_kwargs(self, name: str, state: Mapping[str, Tensor]) -> Kwargs:
        """The number of classes, from the last layer with weights; see `Family`. The body of a detector has none."""
        if name in detectors.names():
            return {}
        with without_weights():
            expected = self.build(name, dict(BARE) if name in INCEPTIONS else {}).state_dict()
        return classes_of(state, expected)


def _entry(
    name: str, weights: "WeightsEnum", file: str | None, kwargs: tuple[tuple[str, bool | float], ...]
) -> WeightsEntry:
    download = partial(weights.get_state_dict, progress=False, check_hash=True)
    if name in detectors.names():
        return WeightsEntry(detectors.preprocessing_of(name), (), file, download, kwargs, unused=detectors.HEADS)
    classes = tuple(weights.meta.get("categories", ()))
    return WeightsEntry(_preprocessing(weights.transforms()), classes, file, download, kwargs)


def _preprocessing(transform: Any) -> Preprocessing:  # noqa: ANN401 - torchvision's transforms have no common type
    """The preprocessing of torchvision's transform. One for segmentation has no crop: the middle square is taken."""
    resize = transform.resize_size[0]
    crop = transform.crop_size[0] if hasattr(transform, "crop_size") else resize
    mean, std = tuple(transform.mean), tuple(transform.std)
    return Preprocessing(resize, crop, mean, std, Interpolation(transform.interpolation.value))
