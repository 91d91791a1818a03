"""The spec of a synthesis run. Takes nested values, gives frozen ones."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from workers.spec.batched import Batched
from workers.spec.frozen import Frozen
from workers.spec.lists import Channels, require_distinct
from workers.spec.parts import Word
from workers.spec.precision import require_float32

SortedChannels = Annotated[Channels, AfterValidator(lambda given: tuple(sorted(given)))]


class SynthesiseSpec(Frozen):
    """Which channels get a synthetic image, and how it is optimised."""

    layers: tuple[Word, ...] = Field(("auto",), min_length=1, description="layer names, globs, or auto")
    channels: SortedChannels = Field((), description="channel numbers; by default all")
    steps: int = Field(256, ge=1, le=100_000, description="number of steps of the optimisation")
    rate: float = Field(0.05, gt=0, le=100, description="learning rate of Adam")
    seed: int = Field(0, ge=0, le=2**31, description="random seed for the starting images and the transforms")
    batch: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = Field(
        "auto", description="number of channels that are optimised together; auto is 4 on a CPU and 64 on a GPU"
    )

    @model_validator(mode="after")
    def _require_distinct_channels(self) -> Self:
        require_distinct("synthesise.channels", self.channels)
        return self


class SynthesisRun(Batched):
    """Synthetic images of a network's channels, without a corpus."""

    SECTION = "synthesise"
    BATCH: ClassVar = {"cpu": 4, "cuda": 64}

    synthesise: SynthesiseSpec = SynthesiseSpec()

    @model_validator(mode="after")
    def _require_float32(self) -> Self:
        """Only a scan has another precision."""
        return require_float32(self, "synthesise")


SPEC = SynthesisRun
