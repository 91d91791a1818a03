"""The spec of a scan. Takes nested values, gives frozen ones."""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from workers.spec.frozen import Frozen
from workers.spec.make import make
from workers.spec.parts import Distinct, JobSpec, Method, Precision, Word

LEAST_MAP = 3  # rows and columns of a map that has units away from its border
SHARD = {"cpu": 512, "cuda": 4096}  # images: some seconds of work
LATER = (
    ("engine", "eager"),
    ("predictions", True),
    ("border", "keep"),
)  # keys that the first published runs did not have, with their defaults


class Engine(StrEnum):
    """How the first pass runs a network."""

    AUTO = "auto"
    EAGER = "eager"
    COMPILED = "compiled"


class MapBorder(StrEnum):
    """Whether the units at the border of a map count."""

    KEEP = "keep"
    EXCLUDE = "exclude"


class ScanSpec(Frozen):
    """The first pass: which layers are scanned, and which images are kept per channel."""

    layers: tuple[Word, ...] = Field(("auto",), min_length=1, description="layer names, globs, or auto")
    batch: int = Field(
        32,
        ge=1,
        le=4096,
        description="images per batch; on a CPU, a batch may run through the network in smaller parts",
    )
    shard: Annotated[int, Field(ge=1, le=1_000_000)] | Literal["auto"] = Field(
        "auto", description="images per shard, a multiple of batch; auto is about 512 on a CPU and 4,096 on a GPU"
    )
    max_reject_share: float = Field(
        0.05, ge=0, le=1, description="share of rejected images above which the exit code is 3"
    )
    k: int = Field(9, ge=1, le=1000, description="images kept per channel")
    distinct: Distinct = Field(
        Distinct.CONTENT,
        description="what counts as a duplicate among a channel's images: content (identical bytes), group or none",
    )
    border: MapBorder = Field(
        MapBorder.KEEP,
        description="whether units at the border of a map, whose activation may be due to padding, are used: keep, or exclude "
        "(leaves out the outermost rows and columns of maps of at least 3 x 3)",
    )
    predictions: bool = Field(
        True,
        description="keep the most probable class of each image in the table predictions; needs a classifier with class names; "
        "evolve keeps none",
    )
    engine: Engine = Field(
        Engine.EAGER,
        description="how a scan runs the network: eager, compiled (needs a C++ compiler on every node), or auto "
        "(compiled for large corpora); evolve is always eager",
    )

    @model_serializer(mode="wrap")
    def _without_later_keys(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """All keys, without those of LATER that have their default: runs that do not use them keep their identity."""
        values: dict[str, Any] = serialize(self)
        return {key: value for key, value in values.items() if (key, value) not in LATER}

    @property
    def is_inner(self) -> bool:
        """Whether only units away from the border of a map count."""
        return self.border is MapBorder.EXCLUDE

    @model_validator(mode="after")
    def _require_whole_batches(self) -> Self:
        if self.shard != "auto" and self.shard % self.batch:
            raise ValueError(f"shard {self.shard} is not a multiple of batch {self.batch}")
        return self


class ProjectSpec(Frozen):
    """The second pass: how activations are projected and stored."""

    method: Method | Literal["none"] = Field(
        Method.DECONVNET,
        description="projection method: deconvnet, guided_backprop, gradient, or none for patches alone",
    )
    image_format: Literal["webp", "png"] = Field("webp", description="image format: webp, or png for lossless images")
    previews: bool = Field(True, description="keep a small copy of each top image; evolve keeps none")

    @property
    def projection(self) -> Method | None:
        """The method of projection; None if activations are not projected."""
        return None if self.method == "none" else self.method


class RunSpec(JobSpec):
    """A scan: the strongest images of every channel, and their projections."""

    scan: ScanSpec = ScanSpec()
    project: ProjectSpec = ProjectSpec()

    @model_validator(mode="after")
    def _require_float32_to_compile(self) -> Self:
        """The cost of half precision, and with it the bound on its rounding, is measured without compiling."""
        if self.scan.engine is Engine.COMPILED and self.resources.precision is not Precision.FLOAT32:
            raise ValueError(f"scan.engine: compiled supports float32 only, not {self.resources.precision}; use eager")
        return self

    def resolved(self, device: str) -> Self:
        """The spec with the actual device and shard size."""
        shard = self.scan.shard
        if shard == "auto":
            shard = max(1, SHARD[device] // self.scan.batch) * self.scan.batch
        return super().resolved(device).model_copy(update={"scan": self.scan.model_copy(update={"shard": shard})})

    @property
    def shard_size(self) -> int:
        """Number of images in one shard. The spec must be resolved."""
        return int(self.scan.shard)

    @property
    def batch_size(self) -> int:
        """Number of images in one forward pass."""
        return self.scan.batch

    def with_engine(self, engine: Engine) -> Self:
        """The spec with another engine."""
        return self.model_copy(update={"scan": self.scan.model_copy(update={"engine": engine})})

    def with_smaller_batch(self) -> Self | None:
        """The spec with the largest proper divisor as batch size, so that shards remain multiples; None if it is 1."""
        smaller = next((size for size in range(self.scan.batch // 2, 0, -1) if self.scan.batch % size == 0), None)
        if smaller is None:
            return None
        return self.model_copy(update={"scan": self.scan.model_copy(update={"batch": smaller})})


def make_spec(values: dict[str, Any]) -> RunSpec:
    """The spec of a scan; see `make`."""
    return make(RunSpec, values)


SPEC = RunSpec
