"""How models are named, by family. Takes a source such as `torchvision://resnet18?weights=FILE`, gives its parts.

What a family builds is in `workers/models/families`, which needs torch; this needs none.
"""

import re
from dataclasses import dataclass
from pathlib import PurePath

from workers import locations

WEIGHTS = "?weights="


@dataclass(frozen=True)
class Scheme:
    """How the sources of one family are written: `scheme://NAME?weights=WEIGHTS`.

    Attributes:
        name: what stands before `://`.
        example: a source, for messages.
        own_weights: regular expression of the words that name weights of the family's own; all others are files.
    """

    name: str
    example: str
    own_weights: str | None = None

    @property
    def form(self) -> str:
        """How a source without weights looks, for help texts."""
        return f"{self.name}://NAME"

    def accepts(self, source: str) -> bool:
        """Whether a source is one of this family."""
        return source.startswith(f"{self.name}://")

    def model(self, source: str) -> str:
        """The name of the network within the family."""
        return source.removeprefix(f"{self.name}://").partition("?")[0]

    def owns(self, weights: str) -> bool:
        """Whether weights are the family's own, by a word, and not a file."""
        return self.own_weights is not None and re.fullmatch(self.own_weights, weights) is not None


DECONVOY = Scheme("deconvoy", "deconvoy://zfnet-mini")
TORCHVISION = Scheme("torchvision", "torchvision://resnet18?weights=FILE", own_weights=r"\w+")

SCHEMES: tuple[Scheme, ...] = (
    DECONVOY,
    TORCHVISION,
)


def find_scheme(source: str) -> Scheme | None:
    """The scheme that a source is written by; None if it is of no known family."""
    return next((scheme for scheme in SCHEMES if scheme.accepts(source)), None)


def scheme_of(source: str) -> Scheme:
    """The scheme that a source is written by.

    Raises:
        ValueError: it is of no known family, or asks for something else than weights.
    """
    scheme = find_scheme(source)
    if scheme is None:
        raise ValueError(f"model {source!r} is unknown: write {' or '.join(each.example for each in SCHEMES)}")
    query = source.partition("?")[2]
    if query and not query.startswith("weights="):
        raise ValueError(f"model {source!r}: {query!r} is not understood, only ?weights=FILE or ?weights=ENUM")
    return scheme


def forms() -> str:
    """How sources without weights look, for help texts."""
    return " or ".join(scheme.form for scheme in SCHEMES)


def model_of(source: str) -> str:
    """The name of the network, without its family and weights; empty if the family is unknown."""
    scheme = find_scheme(source)
    return scheme.model(source) if scheme else ""


def weights_of(source: str) -> str:
    """What a source says of weights: a file, a URL or a word; empty if nothing."""
    return source.partition(WEIGHTS)[2]


def weights_file(source: str) -> str | None:
    """The file or URL of weights in a source; None if it names none, or the family's own by a word."""
    scheme, weights = find_scheme(source), weights_of(source)
    known = scheme is not None and scheme.owns(weights)
    return weights if weights and not known else None


def with_weights(source: str, file: str) -> str:
    """The source with a file of weights instead of those that it names."""
    return f"{source.partition('?')[0]}{WEIGHTS}{file}"


def absolute(source: str, folder: PurePath) -> str:
    """The source as every process understands it: a relative file of weights is relative to `folder`."""
    file = weights_file(source)
    return source if file is None else with_weights(source, locations.absolute(file, folder))
