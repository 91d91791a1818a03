"""The interface of model families. Takes a name and weights, gives the module, its preprocessing and class names."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from workers.core.preprocess import Preprocessing
from workers.spec.families import Scheme

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Kwargs = Mapping[str, bool | int | float | str]


@dataclass(frozen=True)
class Architecture:
    """A constructor and its arguments, as plain values.

    Attributes:
        family: name of the family's scheme.
        name: name of the constructor within the family.
        kwargs: its arguments, sorted.
    """

    family: str
    name: str
    kwargs: tuple[tuple[str, bool | int | float | str], ...]


@dataclass(frozen=True)
class WeightsEntry:
    """Weights: their origin, and the properties of the network that depend on them.

    Attributes:
        preprocessing: from image to model input.
        class_names: names of the outputs; empty if unknown.
        file: path or URL of the weights; None if they are downloaded.
        download: downloads the weights if there is no file.
        kwargs: arguments of the constructor that these weights need.
        pinned: the network's name with its branch or tag replaced by a commit; None if the name cannot change its meaning.
        unused: prefixes of the keys of parts that the network does not have, such as the heads of a detector.
    """

    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    file: str | None = None
    download: Callable[[], Mapping[str, Tensor]] = dict
    kwargs: tuple[tuple[str, bool | int | float | str], ...] = ()
    pinned: str | None = None
    unused: tuple[str, ...] = ()


def without_numbers(names: Iterable[str]) -> tuple[str, ...]:
    """The names of classes; none if they are those that transformers gives to classes without names."""
    ordered = tuple(names)
    return () if ordered == tuple(f"LABEL_{number}" for number in range(len(ordered))) else ordered


def classes_of(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Kwargs:
    """The number of classes of weights, if it differs from that of a classifier, whose last layer with weights has them.

    Args:
        state: the weights.
        expected: the weights of the classifier as it is configured, in the order of its layers.
    """
    head = [key for key, tensor in expected.items() if tensor.dim() > 1][-1]
    classes = len(state[head]) if head in state and state[head].dim() > 1 else None
    return {} if classes in (None, len(expected[head])) else {"num_classes": classes}


class Family(Protocol):
    """The networks whose sources have one scheme."""

    @property
    def scheme(self) -> Scheme:
        """The form of the family's sources."""

    def entry(self, name: str, weights: str) -> WeightsEntry:
        """The entry for weights of a network.

        Args:
            name: name of the network.
            weights: a file, a name of the family's own weights, or empty for the family's default weights.

        Raises:
            ModelError: the network or the weights are unknown.
        """

    def build(self, name: str, kwargs: Kwargs) -> nn.Module:
        """The module, with the weights of its constructor.

        Raises:
            ModelError: the network is unknown.
            Exception: any error of a constructor for arguments that it does not expect.
        """

    def implied_kwargs(self, name: str, state: Mapping[str, Tensor]) -> Kwargs:
        """The constructor's arguments that follow from weights, such as the number of classes; may be empty."""
