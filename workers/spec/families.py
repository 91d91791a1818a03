"""The sources of models, by family. Takes a source such as `torchvision://resnet18?weights=FILE`, gives its parts.

The code that builds a family's models is in `workers/models/families`, which needs torch; this module does not.
"""

import re
from dataclasses import dataclass
from pathlib import PurePath

from workers import locations

WEIGHTS = "?weights="


@dataclass(frozen=True)
class Scheme:
    """The form of one family's sources: `scheme://NAME?weights=WEIGHTS`.

    Attributes:
        name: the part before `://`.
        example: an example source for messages.
        own_weights: a regular expression that matches the names of the family's own weights; all others are files.
        classes: argument of the constructors that is the number of classes.
    """

    name: str
    example: str
    own_weights: str | None = None
    classes: str = "num_classes"

    @property
    def form(self) -> str:
        """The form of a source without weights, for help texts."""
        return f"{self.name}://NAME"

    def accepts(self, source: str) -> bool:
        """Whether a source belongs to this family."""
        return source.startswith(f"{self.name}://")

    def model(self, source: str) -> str:
        """The name of the network within the family."""
        return source.removeprefix(f"{self.name}://").partition("?")[0]

    def owns(self, weights: str) -> bool:
        """Whether a string names the family's own weights instead of a file."""
        return self.own_weights is not None and re.fullmatch(self.own_weights, weights) is not None


DECONVOY = Scheme("deconvoy", "deconvoy://zfnet-mini", classes="classes")
TORCHVISION = Scheme("torchvision", "torchvision://resnet18?weights=FILE", own_weights=r"\w+")
TIMM = Scheme("timm", "timm://resnet50.a1_in1k")

SCHEMES: tuple[Scheme, ...] = (
    DECONVOY,
    TORCHVISION,
    TIMM,
)

# Networks that Python code has put under a root: `stored://NAME@FINGERPRINT`. No family builds them; the root holds their graph.
STORED = Scheme("stored", "stored://NAME@FINGERPRINT")
_STORED = re.compile(r"[A-Za-z0-9_.-]{1,60}@[0-9a-f]{32}")


def find_scheme(source: str) -> Scheme | None:
    """The scheme of a source; None if its family is unknown."""
    return next((scheme for scheme in (*SCHEMES, STORED) if scheme.accepts(source)), None)


def scheme_of(source: str) -> Scheme:
    """The scheme of a source.

    Raises:
        ValueError: the family is unknown, or the source has another parameter than weights.
    """
    scheme = find_scheme(source)
    if scheme is None:
        *others, last = (known.example for known in SCHEMES)
        examples = f"{', '.join(others)} or {last}"
        raise ValueError(f"model {source!r} is unknown: write {examples}")
    if scheme is STORED and not _STORED.fullmatch(scheme.model(source)):
        raise ValueError(f"model {source!r} must be {STORED.example}, where FINGERPRINT is 32 hexadecimal digits")
    query = source.partition("?")[2]
    if query and not query.startswith("weights="):
        raise ValueError(f"model {source!r}: {query!r} is not a valid parameter; write ?weights=FILE or ?weights=ENUM")
    return scheme


def stored_source(name: str, fingerprint: str) -> str:
    """The source of a network that a root holds."""
    return f"{STORED.name}://{re.sub(r'[^A-Za-z0-9_.-]', '-', name)[:60]}@{fingerprint}"


def stored_fingerprint(source: str) -> str | None:
    """The fingerprint of a network that a root holds; None for other sources."""
    return source.rpartition("@")[2] if STORED.accepts(source) else None


def forms() -> str:
    """The forms of sources without weights, for help texts."""
    *others, last = (scheme.form for scheme in SCHEMES)
    return f"{', '.join(others)} or {last}"


def model_of(source: str) -> str:
    """The name of the network without its family and weights; empty if the family is unknown."""
    scheme = find_scheme(source)
    return scheme.model(source) if scheme else ""


def weights_of(source: str) -> str:
    """The weights in a source: a file, a URL or the name of a family's own weights; empty if it has none."""
    return source.partition(WEIGHTS)[2]


def weights_file(source: str) -> str | None:
    """The file or URL of weights in a source; None if it names no weights, or the family's own."""
    scheme, weights = find_scheme(source), weights_of(source)
    known = scheme is not None and scheme.owns(weights)
    return weights if weights and not known else None


def with_weights(source: str, file: str) -> str:
    """The source with its weights replaced by a file."""
    return f"{source.partition('?')[0]}{WEIGHTS}{file}"


def absolute(source: str, folder: PurePath) -> str:
    """The source with a relative file of weights resolved against `folder`."""
    file = weights_file(source)
    return source if file is None else with_weights(source, locations.absolute(file, folder))
