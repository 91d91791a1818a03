"""The classifiers of torchvision. Takes a name such as `resnet18`, gives its module and an entry for its weights."""

from collections.abc import Mapping
from functools import partial

import torch
import torchvision.models
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from workers.core.preprocess import Preprocessing
from workers.errors import ModelError, nearest
from workers.models.families.family import Kwargs, WeightsEntry
from workers.spec.families import TORCHVISION
from workers.spec.parts import Interpolation

BARE = (("aux_logits", False), ("init_weights", False))  # arguments that build the inceptions without auxiliary heads
INCEPTIONS = ("googlenet", "inception_v3")


class Torchvision:
    """`torchvision://NAME`."""

    scheme = TORCHVISION

    def entry(self, name: str, weights: str) -> WeightsEntry:
        """A file with the preprocessing of torchvision's first weights, or torchvision's weights by name; see `Family`."""
        known = torchvision.models.list_models(torchvision.models)
        if name not in known:
            raise ModelError(f"no model torchvision://{name}; {nearest(name, known)}")
        enum = torchvision.models.get_model_weights(name)
        bare = BARE if name in INCEPTIONS else ()
        if weights and not self.scheme.owns(weights):
            return _entry(next(iter(enum)), weights, bare)
        if weights and weights not in enum.__members__ and weights != "DEFAULT":
            names = ", ".join(enum.__members__)
            raise ModelError(f"no weights {weights!r} for {name}; give a file, or one of {names}")
        entry = enum[weights] if weights in enum.__members__ else enum.DEFAULT
        return _entry(entry, None, (*bare, ("transform_input", True)) if bare else ())

    def build(self, name: str, kwargs: Kwargs) -> nn.Module:
        """The module; see `Family`."""
        module: nn.Module = torchvision.models.get_model(name, weights=None, **kwargs)
        return module

    def implied_kwargs(self, name: str, state: Mapping[str, Tensor]) -> Kwargs:
        """The number of classes, from the last layer with weights; see `Family`."""
        with torch.device("meta"):
            expected = self.build(name, dict(BARE) if name in INCEPTIONS else {}).state_dict()
        head = [key for key, tensor in expected.items() if tensor.dim() > 1][-1]
        classes = len(state[head]) if head in state and state[head].dim() > 1 else None
        return {} if classes in (None, len(expected[head])) else {"num_classes": classes}


def _entry(weights: WeightsEnum, file: str | None, kwargs: tuple[tuple[str, bool], ...]) -> WeightsEntry:
    transform = weights.transforms()
    preprocessing = Preprocessing(
        resize=transform.resize_size[0],
        crop=transform.crop_size[0],
        mean=tuple(transform.mean),
        std=tuple(transform.std),
        interpolation=Interpolation(transform.interpolation.value),
    )
    names = tuple(weights.meta.get("categories", ()))
    download = partial(weights.get_state_dict, progress=False, check_hash=True)
    return WeightsEntry(preprocessing, names, file, download, kwargs)
