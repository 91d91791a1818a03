"""The spec of a run over the checkpoints of a training. Takes nested values, gives frozen ones."""

from pathlib import PurePosixPath
from typing import Self

from pydantic import Field, model_validator

from workers.spec.frozen import Frozen
from workers.spec.parts import Word
from workers.spec.precision import require_float32
from workers.spec.scan import Engine, RunSpec


class EvolveSpec(Frozen):
    """The checkpoints of a training."""

    checkpoints: tuple[Word, ...] = Field(
        min_length=1,
        description="weight files in training order, or globs, whose files are sorted by the numbers in their names",
    )
    settled_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="minimum overlap with the last checkpoint's top images for a channel to count as settled",
    )


class EvolutionRun(RunSpec):
    """A scan of every checkpoint of a training; `model` gives the network without weights."""

    evolve: EvolveSpec

    @model_validator(mode="after")
    def _require_eager(self) -> Self:
        """Every checkpoint is another network, and compiling each would take longer than it saves."""
        if self.scan.engine is not Engine.EAGER:
            raise ValueError(f"scan.engine: evolve supports eager only, not {self.scan.engine}; remove the key")
        return self

    @model_validator(mode="after")
    def _require_float32(self) -> Self:
        """The cost of half precision, and with it the bound on its rounding, is only measured by `scan`."""
        return require_float32(self, "evolve")


def checkpoint_name(file: str) -> str:
    """The name of a checkpoint: its file's name without the extension."""
    name = PurePosixPath(file).name
    return name.rpartition(".")[0] or name


SPEC = EvolutionRun
