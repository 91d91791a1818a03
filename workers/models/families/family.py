"""What a family of networks is. Takes a name and weights, gives the module, its preprocessing and the names of its classes."""

from collections.abc import Callable, Mapping
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
        family: name of its scheme.
        name: name of the constructor within the family.
        kwargs: its arguments, sorted.
    """

    family: str
    name: str
    kwargs: tuple[tuple[str, bool | int | float | str], ...]


@dataclass(frozen=True)
class Entry:
    """Where the weights come from and what belongs to them.

    Attributes:
        preprocessing: from photo to input.
        class_names: names of the outputs, or empty.
        file: path or URL of the weights; None if they are downloaded.
        download: gives the weights where there is no file.
        kwargs: arguments of the constructor that these weights need.
    """

    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    file: str | None = None
    download: Callable[[], Mapping[str, Tensor]] = dict
    kwargs: tuple[tuple[str, bool | int | float | str], ...] = ()


class Family(Protocol):
    """Networks that are named by one scheme."""

    @property
    def scheme(self) -> Scheme:
        """How its sources are written."""

    def entry(self, name: str, weights: str) -> Entry:
        """The weights of a network, and what belongs to them.

        Args:
            name: of the network.
            weights: a file, a word that the scheme owns, or empty for those that the family has.

        Raises:
            ModelError: no such network, or no such weights.
        """

    def build(self, name: str, kwargs: Kwargs) -> nn.Module:
        """The module, with whatever weights its constructor gives it.

        Raises:
            ModelError: no such network.
            Exception: whatever a constructor raises for arguments that it does not expect.
        """

    def fitting(self, name: str, state: Mapping[str, Tensor]) -> Kwargs:
        """Arguments of the constructor that follow from the weights, such as the number of classes; may be none."""
