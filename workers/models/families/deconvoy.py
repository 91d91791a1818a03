"""The networks that this package defines. Takes a name such as `zfnet-mini`, gives its module and bundled weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources

from torch import Tensor, nn

from workers.core.preprocess import Preprocessing
from workers.errors import ModelError, nearest
from workers.models import zfnet
from workers.models.families.family import IMAGENET_MEAN, IMAGENET_STD, Kwargs, WeightsEntry
from workers.spec.families import DECONVOY
from workers.spec.parts import Interpolation
from workers.store.json_format import JsonFormat


@dataclass(frozen=True)
class Definition:
    """One network.

    Attributes:
        make: its constructor; takes `classes`.
        head: key of the last layer's bias, whose length is the number of classes.
        preprocessing: from image to model input.
        pretrained: whether the package includes weights, in a folder with the network's name.
    """

    make: Callable[..., nn.Module]
    head: str
    preprocessing: Preprocessing
    pretrained: bool = False


@dataclass(frozen=True)
class Training:
    """The meta.json of bundled weights, of which only the names of the classes are read, in output order."""

    classes: tuple[str, ...]


_TRAINING = JsonFormat(Training)
NETWORKS: Mapping[str, Definition] = {
    "zfnet": Definition(
        zfnet.zfnet, "fc8.bias", Preprocessing(256, 224, IMAGENET_MEAN, IMAGENET_STD, Interpolation.BILINEAR)
    ),
    "zfnet-mini": Definition(
        zfnet.zfnet_mini,
        "fc7.bias",
        Preprocessing(184, 160, IMAGENET_MEAN, IMAGENET_STD, Interpolation.BICUBIC),
        pretrained=True,
    ),
}


def _refuse(name: str) -> Mapping[str, Tensor]:
    raise ModelError(f"deconvoy://{name} has no weights of its own: give deconvoy://{name}?weights=FILE.safetensors")


class Deconvoy:
    """`deconvoy://NAME`."""

    scheme = DECONVOY

    def entry(self, name: str, weights: str) -> WeightsEntry:
        """Weights from a file, or those that the package includes; see `Family`."""
        if name not in NETWORKS:
            raise ModelError(f"no model deconvoy://{name}; {nearest(name, NETWORKS)}")
        network = NETWORKS[name]
        if network.pretrained:
            folder = resources.files("workers") / "pretrained" / name
            classes = _TRAINING.decode((folder / "meta.json").read_bytes()).classes
            return WeightsEntry(network.preprocessing, classes, weights or str(folder / "model.safetensors"))
        return WeightsEntry(network.preprocessing, (), weights or None, partial(_refuse, name))

    def build(self, name: str, kwargs: Kwargs) -> nn.Module:
        """The module; see `Family`."""
        if name not in NETWORKS:
            raise ModelError(f"no model {name!r}; {nearest(name, NETWORKS)}")
        return NETWORKS[name].make(**kwargs)

    def implied_kwargs(self, name: str, state: Mapping[str, Tensor]) -> Kwargs:
        """The number of classes; see `Family`."""
        head = state.get(NETWORKS[name].head) if name in NETWORKS else None
        return {} if head is None or not head.dim() else {"classes": len(head)}
