"""The sources of models, by family. Takes a source such as `torchvision://resnet18?weights=FILE`, gives its parts.

The code that builds a family's models is in `workers/models/families`, which needs torch; this module does not.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath

from workers import locations

WEIGHTS = "?weights="


@dataclass(frozen=True)
class Scheme:
    """The form of one family's sources: `scheme://NAME?weights=WEIGHTS`.

    Attributes:
        name: the part before the separator.
        example: an example source for messages.
        own_weights: a regular expression that matches the names of the family's own weights; all others are files.
        classes: argument of the constructors that is the number of classes.
        separator: the part between the scheme's name and the network's.
        names: a regular expression that matches every valid name of a network.
        rule: the form of a valid name, for messages; only needed if some names are not valid.
        placeholder: stands for a name in help texts.
    """

    name: str
    example: str
    own_weights: str | None = None
    classes: str = "num_classes"
    separator: str = "://"
    names: str = ".*"
    rule: str = ""
    placeholder: str = "NAME"

    @property
    def form(self) -> str:
        """The form of a source without weights, for help texts."""
        return self.source(self.placeholder)

    def source(self, name: str) -> str:
        """The source of a network, without weights."""
        return f"{self.name}{self.separator}{name}"

    def accepts(self, source: str) -> bool:
        """Whether a source belongs to this family."""
        return source.startswith(self.source(""))

    def model(self, source: str) -> str:
        """The name of the network within the family."""
        return source.removeprefix(self.source("")).partition("?")[0]

    def owns(self, weights: str) -> bool:
        """Whether a string names the family's own weights instead of a file."""
        return self.own_weights is not None and re.fullmatch(self.own_weights, weights) is not None


DECONVOY = Scheme("deconvoy", "deconvoy://zfnet-mini", classes="classes")
TORCHVISION = Scheme("torchvision", "torchvision://resnet18?weights=FILE", own_weights=r"\w+")
TIMM = Scheme("timm", "timm://resnet50.a1_in1k")
_FOLDER = r"(?:\.{0,2}/|[a-z0-9+]+://).*"  # a path or an fsspec URL; nothing else starts like this
HUB = Scheme(
    "hf-hub",
    "hf-hub:timm/resnet18.a1_in1k@REVISION",
    separator=":",
    names=rf"{_FOLDER}|(?!.*\.\.)[A-Za-z0-9][\w.-]*/[\w.-]+@[A-Za-z0-9][\w./-]*",
    rule="hf-hub:ORG/NAME@REVISION, where REVISION is a commit, tag or branch, or hf-hub:FOLDER, "
    "where FOLDER starts with /, ./ or ../, or is a URL",
    placeholder="ORG/NAME@REVISION",
)

SCHEMES: tuple[Scheme, ...] = (
    DECONVOY,
    TORCHVISION,
    TIMM,
    HUB,
)

# Networks that the user's own code has put under a root. No family builds them; the root holds their graph.
_STORABLE = r"A-Za-z0-9_.:-"
STORED = Scheme(
    "stored",
    "stored://NAME@FINGERPRINT",
    names=rf"[{_STORABLE}]{{1,60}}@[0-9a-f]{{32}}",
    rule="stored://NAME@FINGERPRINT, where FINGERPRINT is 32 hexadecimal digits",
    placeholder="NAME@FINGERPRINT",
)

# Code, which no spec may name: `FILE.py:CALLABLE`, `package.module:CALLABLE` and `FILE.pt2`.
_CALLABLE = re.compile(r"(?P<place>.+\.py|[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<name>[^\W\d]\w*(?:\.[^\W\d]\w*)*)")
_PROGRAM = ".pt2"
_WEIGHT_FILES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")


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
        raise ValueError(f"model {source!r} {_explain_unknown(source)}")
    if not re.fullmatch(scheme.names, scheme.model(source)):
        raise ValueError(f"model {source!r} must be {scheme.rule}")
    query = source.partition("?")[2]
    if query and not query.startswith("weights="):
        raise ValueError(f"model {source!r}: {query!r} is not a valid parameter; write ?weights=FILE or ?weights=SET")
    return scheme


def _explain_unknown(source: str) -> str:
    """Why a source belongs to no family, and what would be right."""
    *others, last = (known.example for known in SCHEMES)
    if is_code(source):
        return (
            "is code, which only commands with --trust-code accept; "
            f"scan it once with `deconvoy scan --trust-code`, and give the {STORED.example} in that run's manifest"
        )
    if source.endswith(_WEIGHT_FILES) and "?" not in source:
        return (
            f"is a file of weights: name its network too, such as torchvision://resnet18?weights={source}; a whole pickled "
            "module is not read, because that runs code: write torch.save(module.state_dict(), FILE)"
        )
    return f"is unknown: write {', '.join(others)} or {last}"


def is_code(source: str) -> bool:
    """Whether a source names the user's own code."""
    return find_scheme(source) is None and (source.endswith(_PROGRAM) or _CALLABLE.fullmatch(source) is not None)


def code_parts(source: str) -> tuple[str, str]:
    """The place of a source of code, a file or a module, and the name of the callable; the name is empty for an exported file."""
    match = _CALLABLE.fullmatch(source)
    return (match["place"], match["name"]) if match else (source, "")


def stored_source(name: str, fingerprint: str) -> str:
    """The source of a network that a root holds."""
    return f"{STORED.source('')}{re.sub(f'[^{_STORABLE}]', '-', name)[:60]}@{fingerprint}"


def stored_fingerprint(source: str) -> str | None:
    """The fingerprint of a network that a root holds; None for other sources."""
    return source.rpartition("@")[2] if STORED.accepts(source) else None


def forms() -> str:
    """The forms of sources without weights, for help texts."""
    *others, last = (scheme.form for scheme in SCHEMES)
    return f"{', '.join(others)} or {last}"


def model_of(source: str) -> str:
    """The name of the network without its family, place, revision and weights; empty if the family is unknown."""
    scheme = find_scheme(source)
    if scheme is None:
        return ""
    model = scheme.model(source)
    return PurePosixPath(model if _is_folder(model) else model.partition("@")[0]).name


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


def snapshot_folder(source: str) -> str | None:
    """The folder of a local copy of a repository of the Hugging Face Hub; None for other sources."""
    model = HUB.model(source) if HUB.accepts(source) else ""
    return model if _is_folder(model) else None


def with_model(source: str, model: str) -> str:
    """The source with the name of its network replaced."""
    scheme = find_scheme(source)
    return source if scheme is None else scheme.source(model) + source.removeprefix(scheme.source(scheme.model(source)))


def places(source: str) -> Iterator[tuple[str, str]]:
    """What a source reads, and where: files, folders and repositories of the Hugging Face Hub, these as fsspec names them."""
    folder, file = snapshot_folder(source), weights_file(source)
    if folder is not None:
        yield "snapshot", folder
    elif HUB.accepts(source):
        yield "repository", f"hf://{HUB.model(source).partition('@')[0]}"
    if file is not None:
        yield "weights", file


def absolute(source: str, folder: PurePath) -> str:
    """The source with relative files and folders resolved against `folder`."""
    if is_code(source):
        place, name = code_parts(source)
        is_file = place.endswith((".py", _PROGRAM))
        return f"{locations.absolute(place, folder) if is_file else place}{':' if name else ''}{name}"
    snapshot, file = snapshot_folder(source), weights_file(source)
    if snapshot is not None:
        source = with_model(source, locations.absolute(snapshot, folder))
    return source if file is None else with_weights(source, locations.absolute(file, folder))


def _is_folder(model: str) -> bool:
    return re.fullmatch(_FOLDER, model) is not None
