"""What a run is asked to do. Takes nested dicts, gives one frozen value; touches no file and no torch."""

import re
from enum import StrEnum
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from workers.errors import RunIdError, SpecError
from workers.spec import families
from workers.spec.mistakes import mistakes, unusable
from workers.spec.patterns import Pattern

RUN_ID = re.compile(r"[a-z][a-z0-9._-]{0,99}(?<!\.json)\Z")  # a page's data is at its path + .json

RunId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9._-]{0,99}$")]
Word = Annotated[str, StringConstraints(min_length=1)]
Triple = tuple[float, float, float]


class Distinct(StrEnum):
    """What counts once in a top-k."""

    CONTENT = "content"
    GROUP = "group"
    NONE = "none"


class Method(StrEnum):
    """How a unit's activation is carried down to pixels."""

    DECONVNET = "deconvnet"
    GUIDED_BACKPROP = "guided_backprop"
    GRADIENT = "gradient"


class Precision(StrEnum):
    """The number format of the scan's forward pass."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class Interpolation(StrEnum):
    """How an image is resized to the model's input."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


class Fill(StrEnum):
    """What stands where something is hidden: grey (127.5 of 255), the image's mean colour, or the image blurred."""

    GREY = "grey"
    MEAN = "mean"
    BLUR = "blur"


class Frozen(BaseModel):
    """A value that cannot change and refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelSpec(Frozen):
    """The network, its weights, and the preprocessing where it is not the weights' own."""

    source: Word = Field(description=f"{families.forms()}, with ?weights=FILE or ?weights=ENUM")
    resize: int | None = Field(None, ge=1, le=65_536, description="short side after resizing, pixels")
    crop: int | None = Field(None, ge=1, le=8192, description="side of the centre crop = the model's input, pixels")
    mean: Triple | None = Field(None, description="mean per RGB channel, of values in 0 to 1")
    std: Triple | None = Field(None, description="standard deviation per RGB channel, of values in 0 to 1")
    interpolation: Interpolation | None = Field(None, description="interpolation of the resize")
    classes: Word | None = Field(None, description="file of class names, one per line, in the order of the outputs")
    kwargs: dict[str, bool | int | float | str] = Field({}, description="arguments of the constructor")

    @model_validator(mode="after")
    def _source_is_one(self) -> Self:
        families.scheme_of(self.source)
        return self


class CorpusSpec(Frozen):
    """The images, and what is known of each."""

    source: Word = Field(description="a folder or a glob, as a path or an fsspec URL")
    label: Literal["folder", "none"] = Field("folder", description="where an image's label comes from")
    group: Word = Field(
        "none", description="'none', 'folder', or a regular expression on image_id; its first group counts"
    )

    @model_validator(mode="after")
    def _pattern_compiles(self) -> Self:
        if self.group not in ("none", "folder"):
            try:
                Pattern(self.group)
            except ValueError as error:
                raise ValueError(f"group {self.group!r} is not a regular expression of linear time: {error}") from None
        return self


class ScanSpec(Frozen):
    """The first pass: which layers, and what is kept of each channel."""

    layers: tuple[Word, ...] = Field(("auto",), min_length=1, description="layer names, globs, or 'auto'")
    batch: int = Field(32, ge=1, le=4096, description="images in one forward pass")
    shard: int = Field(512, ge=1, le=1_000_000, description="images in one shard, a multiple of batch")
    max_reject_share: float = Field(0.05, ge=0, le=1, description="share of rejects above which the exit code is 3")
    k: int = Field(9, ge=1, le=1000, description="images kept per channel")
    distinct: Distinct = Field(Distinct.CONTENT, description="what counts once: content, group or none")

    @model_validator(mode="after")
    def _whole_batches(self) -> Self:
        if self.shard % self.batch:
            raise ValueError(f"shard {self.shard} is not a multiple of batch {self.batch}")
        return self


class ProjectSpec(Frozen):
    """The second pass: how activations are carried down and stored."""

    method: Method = Field(Method.DECONVNET, description="deconvnet, guided_backprop or gradient")
    image_format: Literal["webp", "png"] = Field("webp", description="patches as WebP, or all images lossless as PNG")
    previews: bool = Field(True, description="keep a small copy of each image that tops a channel")


class LimitsSpec(Frozen):
    """What one image file may cost."""

    bytes: int = Field(67_108_864, ge=1, description="largest file, bytes")
    pixels: int = Field(89_478_485, ge=1, description="largest image, pixels, before and after resizing")


class ResourcesSpec(Frozen):
    """What the run may use."""

    actors: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="number of actors; auto = one per GPU or CPU"
    )
    fewer: bool = Field(False, description="go on with fewer actors where there is no room for so many")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where networks run; auto = cuda if there is one"
    )
    precision: Precision = Field(Precision.FLOAT32, description="number format of the scan's forward pass")
    threads: int = Field(1, ge=1, le=256, description="CPU threads of one actor")


class JobSpec(Frozen):
    """What every job over a corpus is told: everything that its tables depend on, and the resources that they do not."""

    run: RunId | None = Field(None, description="run id; made from model, corpus and time when absent")
    root: Word = Field(description="folder or fsspec URL that holds the datasets")
    model: ModelSpec
    corpus: CorpusSpec
    limits: LimitsSpec = LimitsSpec()
    resources: ResourcesSpec = ResourcesSpec()

    def identity(self) -> dict[str, Any]:
        """What a run id stands for: the spec, its device resolved, without run, root and how many actors there are."""
        whole = self.model_dump(mode="json", exclude={"run", "root"})
        for name in ("actors", "fewer"):
            del whole["resources"][name]
        return whole

    def resolved(self, device: str) -> Self:
        """The spec with the device that will be used."""
        return self.model_copy(update={"resources": self.resources.model_copy(update={"device": device})})

    @property
    def batch_size(self) -> int:
        """Most items in one forward pass, where the spec says so; else 1."""
        return 1

    def with_smaller_batch(self) -> Self | None:
        """The spec with the next smaller batch, for when memory has run out; None if there is none."""
        return None


class RunSpec(JobSpec):
    """One scan."""

    scan: ScanSpec = ScanSpec()
    project: ProjectSpec = ProjectSpec()

    @property
    def batch_size(self) -> int:
        """Images in one forward pass."""
        return self.scan.batch

    def with_smaller_batch(self) -> Self | None:
        """The spec with the largest smaller batch that divides this one's, so that shards stay whole numbers of batches."""
        smaller = next((size for size in range(self.scan.batch // 2, 0, -1) if self.scan.batch % size == 0), None)
        if smaller is None:
            return None
        return self.model_copy(update={"scan": self.scan.model_copy(update={"batch": smaller})})

    @model_validator(mode="after")
    def _groups_are_given(self) -> Self:
        if self.scan.distinct is Distinct.GROUP and self.corpus.group == "none":
            raise ValueError("scan.distinct is 'group' but corpus.group is 'none': say where the group comes from")
        return self


AnySpec = TypeVar("AnySpec", bound=Frozen)


def slug(*names: str) -> str:
    """Names as the beginning of a run id: at most 70 of a-z, 0-9 and hyphens, a letter first; may be empty."""
    words = re.sub(r"[^a-z0-9]+", "-", "-".join(names).lower())
    return words.lstrip("-0123456789")[:70].rstrip("-")


def check_run_id(run: str) -> str:
    """Return the run id, or raise RunIdError with the rule it breaks."""
    if not RUN_ID.match(run):
        raise RunIdError(
            f"run id {run!r} is no run id: a small letter, then up to 99 of a-z 0-9 . _ - (such as 'flowers-zfnet'), and no"
            " .json at its end"
        )
    return run


def make_spec(values: dict[str, Any]) -> RunSpec:
    """The spec of a scan; see `make`."""
    return make(RunSpec, values)


def make(kind: type[AnySpec], values: dict[str, Any]) -> AnySpec:
    """Make a spec from nested dicts.

    Raises:
        SpecError: with every mistake, its key and what would be right.
        RunIdError: the run id is none.
    """
    if isinstance(values.get("run"), str):
        check_run_id(values["run"])
    wrong = unusable(values)
    if wrong:
        raise SpecError(wrong)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise SpecError(mistakes(kind, error)) from None


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay nested dict `over` on `base`; values of None in `over` say nothing."""
    result = dict(base)
    for key, value in over.items():
        if isinstance(value, dict):
            below = base.get(key, {})
            result[key] = merged(below if isinstance(below, dict) else {}, value)
        elif value is not None:
            result[key] = value
    return result
