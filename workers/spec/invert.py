"""The spec of an inversion run. Takes nested values, gives frozen ones."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from workers.spec import recipe
from workers.spec.batched import Batched
from workers.spec.frozen import Frozen
from workers.spec.lists import Channels, require_distinct
from workers.spec.parts import JobSpec, Word
from workers.spec.recipe import Recipe


class InvertSpec(Frozen):
    """Which images and layers are inverted, and how."""

    layers: tuple[Word, ...] = Field(("auto",), min_length=1, description="layer names, globs, or auto")
    images: tuple[Word, ...] = Field((), description="image ids; by default a sample")
    sample: int = Field(5, ge=1, description="number of images in the sample")
    restarts: int = Field(
        4, ge=1, le=256, description="inversions per image and layer, each from a different starting image"
    )
    iterations: int = Field(
        400, ge=1, le=100_000, description="number of iterations; below 400 the paper's schedule is cut short"
    )
    batch: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = Field(
        "auto", description="maximum number of inversions per batch; auto is 8 on a CPU and 32 on a GPU"
    )
    seed: int = Field(0, ge=0, description="random seed for the starting images; restart r uses seed + r")
    rate: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="initial learning rate; the default depends on the layer's depth"
    )
    tv_weight: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="weight of the total variation; by default 1, 10 or 100, depending on depth",
    )
    alpha_weight: float = Field(
        8e-10, ge=0, allow_inf_nan=False, description="weight of the norm that keeps pixels in range"
    )
    jitter: int = Field(0, ge=0, description="maximum random shift per iteration, in pixels (IJCV 2016)")
    bounded: bool = Field(False, description="keep pixels in 0 to 255 (IJCV 2016)")
    channels: Channels = Field((), description="channels to match; by default all")
    region: tuple[int, int, int, int] | None = Field(
        None, description="part of the feature map to match: top, left, bottom, right (half-open)"
    )

    @model_validator(mode="after")
    def _require_distinct_channels(self) -> Self:
        require_distinct("invert.channels", self.channels)
        return self

    def recipe(self, number: int, nodes: int) -> Recipe:
        """The recipe for node `number` of a network of `nodes` nodes."""
        return Recipe(
            tv_weight=recipe.tv_weight(number, nodes) if self.tv_weight is None else self.tv_weight,
            rate=recipe.rate(number, nodes) if self.rate is None else self.rate,
            iterations=self.iterations,
            alpha_weight=self.alpha_weight,
            jitter_px=self.jitter,
            bounded=self.bounded,
        )


class InversionRun(Batched, JobSpec):
    """Inversions of some images of a corpus."""

    SECTION = "invert"
    BATCH: ClassVar = {"cpu": 8, "cuda": 32}

    invert: InvertSpec = InvertSpec()


SPEC = InversionRun
