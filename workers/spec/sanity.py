"""The spec of a randomisation check. Takes nested values, gives frozen ones."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from workers.spec.frozen import Frozen
from workers.spec.lists import Channels, require_distinct
from workers.spec.parts import JobSpec, RunId, Word


class Mode(StrEnum):
    """Which weights are random: those of all layers from the unit's layer down to a stage, or those of one stage."""

    CASCADING = "cascading"
    INDEPENDENT = "independent"


class SanitySpec(Frozen):
    """Which units of a scan are projected again with random weights."""

    from_run: RunId = Field(description="published scan under the same root whose units are checked")
    layers: tuple[Word, ...] = Field((), description="layer names, globs, or auto; by default all layers of the scan")
    channels: Channels = Field((), description="channels of each layer; by default a sample")
    sample: int = Field(4, ge=1, description="number of living channels per layer in the sample")
    ranks: int = Field(2, ge=1, le=1000, description="number of top images per channel")
    stages: int = Field(
        8,
        ge=1,
        le=100,
        description="maximum number of stages per layer; if there are more weighted layers, neighbours share a stage",
    )
    modes: tuple[Mode, ...] = Field(
        tuple(Mode), min_length=1, description="randomisation mode: cascading or independent; by default both"
    )
    draws: int = Field(3, ge=1, le=100, description="number of random networks; network d uses seed + d")
    seed: int = Field(0, ge=0, description="random seed for the weights")

    @model_validator(mode="after")
    def _require_distinct_items(self) -> Self:
        require_distinct("sanity.channels", self.channels)
        require_distinct("sanity.modes", self.modes)
        return self


class SanityRun(JobSpec):
    """A randomisation check of some units of a scan."""

    sanity: SanitySpec


SPEC = SanityRun
