"""The parts that specs share: model, corpus, limits, resources. Takes nested values, gives frozen ones; loads no torch."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

from workers.spec import families, keys
from workers.spec.decoding import DecodeSpec
from workers.spec.frozen import Frozen
from workers.spec.sizes import Crop, Pad, Resize

RunId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9._-]{0,99}$")]


Word = Annotated[str, StringConstraints(min_length=1)]


PerChannel = Annotated[tuple[float, ...], Field(min_length=1)]  # as many values as the model's input has channels
Pair = tuple[int, int]  # height and width


class Distinct(StrEnum):
    """Which images count only once in a top-k."""

    CONTENT = "content"
    GROUP = "group"
    NONE = "none"


class Method(StrEnum):
    """How a unit's activation is carried down to pixels."""

    DECONVNET = "deconvnet"
    GUIDED_BACKPROP = "guided_backprop"
    GRADIENT = "gradient"


class Precision(StrEnum):
    """The floating-point format of the scan's forward pass."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class Interpolation(StrEnum):
    """How an image is resized to the model's input."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


class Fit(StrEnum):
    """How an image is resized to a height and a width: each side alone, or in proportion until it covers or fits into them."""

    STRETCH = "stretch"
    COVER = "cover"
    LETTERBOX = "letterbox"


class Fill(StrEnum):
    """The content of a hidden box: grey (127.5 of 255), the image's mean colour, or the blurred image."""

    GREY = "grey"
    MEAN = "mean"
    BLUR = "blur"


# Keys that the first published runs did not have.
LATER = frozenset({"fit", "pad", "bits", "num_classes"}) | frozenset(
    {"label_names", "include_hidden", "extensions", "image_column", "id_column", "within", "limit", "sample"}
    | {"split", "splits", "every"}
)


def _without_defaults(values: dict[str, Any]) -> dict[str, Any]:
    """The keys of a table without those of LATER that have no value; 0 is a value."""
    return {key: value for key, value in values.items() if key not in LATER or _is_given(value)}


def _is_given(value: object) -> bool:
    return value is not None and value is not False and value not in ((), [])


class ModelSpec(Frozen):
    """The network, its weights, and overrides of the weights' own preprocessing."""

    source: Word = Field(description=f"network: {families.forms()}, with ?weights=FILE or ?weights=SET")
    resize: Resize | None = Field(None, description="short side after resizing, or HEIGHT,WIDTH (see `fit`), in pixels")
    fit: Fit | None = Field(
        None,
        description="how an image is resized to HEIGHT,WIDTH: stretch (each side independently), cover (in proportion, at "
        "least that size) or letterbox (in proportion, at most that size; the rest is padded)",
    )
    pad: Pad | None = Field(None, description="what letterbox pads with: mean, or a value from 0 to 255")
    crop: Crop | None = Field(
        None,
        description="centre crop in pixels: one side, or HEIGHT,WIDTH; it sets the model's input size. none: resize "
        "to the input size instead, by stretch or letterbox",
    )
    mean: PerChannel | None = Field(
        None, description="mean per channel, on a scale of 0 to 1; one value for grey, three for RGB"
    )
    std: PerChannel | None = Field(None, description="standard deviation per channel, on a scale of 0 to 1")
    bits: Literal[8, 16] | None = Field(
        None, description="bits per sample at which grey images are read: 8, or 16 to keep those of 16-bit files"
    )
    interpolation: Interpolation | None = Field(
        None, description="interpolation used for resizing: nearest, bilinear or bicubic"
    )
    classes: Word | None = Field(
        None,
        description="file of class names, one per line, in output order; more words that find a class, such as dog for a "
        "breed, may follow a tab, separated by commas",
    )
    num_classes: int | None = Field(
        None, ge=1, le=10_000_000, description="number of outputs; by default that of the weights"
    )
    kwargs: dict[str, bool | int | float | str] = Field({}, description="keyword arguments of the model's constructor")

    @model_serializer(mode="wrap")
    def _without_later_keys(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """All keys, without those of LATER that have no value: runs that do not use them keep their identity."""
        return _without_defaults(serialize(self))

    @model_validator(mode="after")
    def _require_known_source(self) -> Self:
        families.scheme_of(self.source)
        return self


def _extension(text: object) -> object:
    """An extension in lower case with its dot."""
    return f".{text.lower().removeprefix('.')}" if isinstance(text, str) else text


Extension = Annotated[str, BeforeValidator(_extension), StringConstraints(pattern=r"^\.[^./]+$")]


class CorpusSpec(Frozen):
    """The images, and the source of their labels and groups."""

    source: Word = Field(
        description="images: a folder, a glob, an image, archives (photos.tar, 'shards/{000..999}.tar', photos.zip), Parquet, "
        "a list of paths (CSV, JSONL, Parquet), or videos, as a path or fsspec URL"
    )
    label: Word = Field(
        "folder",
        description=f"source of labels: {keys.FORMS.format(what='label')}; with folder, a label that the corpus gives "
        "(a sidecar in a tar archive, or a column label, cls, class or class_name) is preferred",
    )
    group: Word = Field("none", description=f"how images are grouped: {keys.FORMS.format(what='group')}")
    label_names: Word | None = Field(
        None, description="file of readable names for labels, one per line, such as 'n02099601 golden retriever'"
    )
    include_hidden: bool = Field(False, description="also list files and folders whose names begin with a dot")
    extensions: Annotated[tuple[Extension, ...], AfterValidator(lambda given: tuple(sorted(set(given))))] = Field(
        (), description="extensions of image files, such as .jpg; by default those of all known formats"
    )
    image_column: Word | None = Field(
        None,
        description="column of a Parquet file or a list that holds the images or their paths; by default found by type or name",
    )
    id_column: Word | None = Field(
        None,
        description="column of a Parquet file or a list that holds the image ids; by default the path or the row's number",
    )
    within: Word | None = Field(
        None, description="folder or URL below which all paths of a list lie; by default the folder of the list"
    )
    limit: int | None = Field(None, ge=1, description="use only the first N images of the corpus")
    sample: int | None = Field(
        None, ge=1, description="size of a random sample of the corpus; the choice of images depends only on their ids"
    )

    every: int | None = Field(None, ge=1, description="for videos, use every n-th frame; by default every 25th")
    split: Word | None = Field(None, description="only the images of this split, such as train")
    splits: Word | None = Field(
        None, description=f"source of splits: {keys.FORMS.format(what='split')}; by default column:split"
    )

    @model_serializer(mode="wrap")
    def _without_later_keys(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """All keys, without those of LATER that have their defaults: runs that do not use them keep their identity."""
        return _without_defaults(serialize(self))

    @model_validator(mode="after")
    def _require_valid_keys(self) -> Self:
        for what, form in self.forms.items():
            keys.parse(form, what)
        if self.splits is not None and self.split is None:
            raise ValueError("--splits needs --split NAME, the split to scan")
        return self

    @property
    def forms(self) -> Mapping[str, str]:
        """Where labels, groups and splits come from, by what they are."""
        split = {} if self.split is None else {"split": self.splits or "column:split"}
        return {"label": self.label, "group": self.group, **split}


class LimitsSpec(Frozen):
    """The limits of one image file."""

    bytes: int = Field(67_108_864, ge=1, description="maximum size of a file, in bytes")
    pixels: int = Field(89_478_485, ge=1, description="maximum size of an image before and after resizing, in pixels")


class ResourcesSpec(Frozen):
    """The resources that a run may use."""

    actors: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="number of actors; auto starts one per GPU, or one per CPU"
    )
    fewer: bool = Field(False, description="run with fewer actors if the cluster has no room for all of them")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="device: cpu, cuda or auto (cuda if available)")
    precision: Precision = Field(
        Precision.FLOAT32, description="floating-point format of a scan's forward pass: float32, bfloat16 or float16"
    )
    threads: int = Field(1, ge=1, le=256, description="CPU threads per actor")
    readers: Annotated[int, Field(ge=0, le=256)] | Literal["auto"] = Field(
        "auto",
        description="processes per actor that decode images; 0 decodes in threads of the actor; "
        "auto is 0 for a CPU actor; for a GPU actor, its share of the node's CPUs, at most 16",
    )


class AnyRun(Frozen):
    """The keys of every spec: the run's id, and the root of its datasets."""

    run: RunId | None = Field(None, description="run id; by default made from model, corpus (or kind of job) and time")
    root: Word = Field(description="folder or fsspec URL for the datasets")

    @property
    def cluster_resources(self) -> ResourcesSpec | None:
        """The resources that the run needs from a Ray cluster; None if it has no actors."""
        return None


class NetworkSpec(AnyRun):
    """The keys of every job in which actors run one network: all that its tables depend on, and its resources."""

    model: ModelSpec
    resources: ResourcesSpec = ResourcesSpec()

    @property
    def cluster_resources(self) -> ResourcesSpec:
        """Actors, device and threads."""
        return self.resources

    def identity(self) -> dict[str, Any]:
        """The part of the spec that identifies a run: all but run, root, and the numbers of actors and readers."""
        whole = self.model_dump(mode="json", exclude={"run", "root"})
        for name in ("actors", "fewer", "readers"):
            del whole["resources"][name]
        return whole

    def resolved(self, device: str) -> Self:
        """The spec with the actual device."""
        return self.model_copy(update={"resources": self.resources.model_copy(update={"device": device})})

    @property
    def batch_size(self) -> int:
        """Largest number of items in one forward pass; 1 if the spec has no batch size."""
        return 1

    def with_smaller_batch(self) -> Self | None:
        """The spec with the next smaller batch size, used when memory has run out; None if there is none."""
        return None


class JobSpec(NetworkSpec):
    """The keys of every job over a corpus."""

    corpus: CorpusSpec
    limits: LimitsSpec = LimitsSpec()
    decode: DecodeSpec = DecodeSpec()

    @model_serializer(mode="wrap")
    def _without_defaults_of_decode(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """All keys, without `decode` if it has its defaults: runs that do not use it keep their identity."""
        values: dict[str, Any] = serialize(self)
        return {key: value for key, value in values.items() if value or key != "decode"}

    def with_depth(self, depth: str | None) -> Self:
        """The spec with the depth that was chosen for its corpus; None changes nothing."""
        if depth is None:
            return self
        return self.model_copy(update={"decode": self.decode.model_copy(update={"depth": depth})})
