"""What a run of an instrument is asked to do. Takes nested dicts, gives frozen values; see `spec` for the scan's."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from workers.spec import recipe
from workers.spec.perturbations import CorrespondenceRun, InvarianceRun
from workers.spec.recipe import Recipe
from workers.spec.run import Fill, Frozen, JobSpec, ModelSpec, RunId, RunSpec, Word

INVERSION_BATCH = {"cpu": 8, "cuda": 32}


class OccludeSpec(Frozen):
    """A grey square that slides over images."""

    layer: Word = Field(description="layer whose strongest feature map is followed")
    images: tuple[Word, ...] = Field((), description="image ids; none: a sample")
    sample: int = Field(8, ge=1, description="images to take if none are named")
    size: int = Field(32, ge=1, description="side of the square, model-input pixels")
    stride: int = Field(8, ge=1, description="between neighbouring positions, model-input pixels")
    fill: Fill = Field(Fill.GREY, description="what the square shows: grey, mean or blur")
    target: Word = Field(
        "label",
        description="class that is followed: 'label' (the predicted one where the label is none), 'predicted', a name or number",
    )
    from_run: RunId | None = Field(None, description="published scan of the same root whose projections stand beside")


class InvertSpec(Frozen):
    """Images from what layers know of them."""

    layers: tuple[Word, ...] = Field(("auto",), min_length=1, description="layer names, globs, or 'auto'")
    images: tuple[Word, ...] = Field((), description="image ids; none: a sample")
    sample: int = Field(5, ge=1, description="images to take if none are named")
    restarts: int = Field(4, ge=1, le=256, description="inversions of each image and layer, from other beginnings")
    iterations: int = Field(400, ge=1, le=100_000, description="below 400 the paper's schedule is cut off, not shrunk")
    batch: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = Field(
        "auto", description="most inversions in one batch; auto = 8 on a CPU, 32 on a GPU"
    )
    seed: int = Field(0, ge=0, description="of the beginnings; restart r begins with seed + r")
    rate: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="learning rate of the schedule's first stretch; absent: by depth"
    )
    tv_weight: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="weight of the total variation; absent: 1, 10, 100 by depth"
    )
    alpha_weight: float = Field(
        8e-10, ge=0, allow_inf_nan=False, description="weight of the norm that keeps pixels in range"
    )
    jitter: int = Field(0, ge=0, description="largest random shift in an iteration, pixels (IJCV 2016)")
    bounded: bool = Field(False, description="keep pixels in 0 to 255 (IJCV 2016)")
    channels: tuple[Annotated[int, Field(ge=0)], ...] = Field((), description="channels compared; none: all")
    region: tuple[int, int, int, int] | None = Field(
        None, description="part of the feature map that is compared: top, left, bottom, right, half-open"
    )

    @model_validator(mode="after")
    def _channels_once(self) -> Self:
        twice = [channel for channel in self.channels if self.channels.count(channel) > 1]
        if twice:
            raise ValueError(f"invert.channels: {twice[0]} is named twice")
        return self

    def recipe(self, number: int, nodes: int) -> Recipe:
        """How node `number` of a network of so many nodes is inverted."""
        return Recipe(
            tv_weight=recipe.tv_weight(number, nodes) if self.tv_weight is None else self.tv_weight,
            rate=recipe.rate(number, nodes) if self.rate is None else self.rate,
            iterations=self.iterations,
            alpha_weight=self.alpha_weight,
            jitter_px=self.jitter,
            bounded=self.bounded,
        )


class EvolveSpec(Frozen):
    """A training, looked at through its checkpoints."""

    checkpoints: tuple[Word, ...] = Field(
        min_length=1,
        description="files of weights in the order of the training, or globs, whose files go by the numbers in their names",
    )
    settled_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="a channel has settled when it shares this much of its top images with the last checkpoint",
    )


class Mode(StrEnum):
    """Which weights are random: those of all layers from the unit's own down to a stage's, or those of a stage alone."""

    CASCADING = "cascading"
    INDEPENDENT = "independent"


class SanitySpec(Frozen):
    """Projections of a scan's units computed again with random weights."""

    from_run: RunId = Field(description="published scan of the same root whose units are looked at")
    layers: tuple[Word, ...] = Field((), description="layer names, globs, or 'auto'; none: all layers of the scan")
    channels: tuple[Annotated[int, Field(ge=0)], ...] = Field((), description="channels of each layer; none: a sample")
    sample: int = Field(4, ge=1, description="living channels of each layer to take if none are named")
    ranks: int = Field(2, ge=1, le=1000, description="strongest images of each channel")
    stages: int = Field(
        8, ge=1, le=100, description="most stages of a layer; with fewer than its weighted layers these share"
    )
    modes: tuple[Mode, ...] = Field(tuple(Mode), min_length=1, description="cascading, independent")
    draws: int = Field(3, ge=1, le=100, description="random networks; draw d has seed + d")
    seed: int = Field(0, ge=0, description="of the random weights")

    @model_validator(mode="after")
    def _once(self) -> Self:
        for name, values in (("channels", self.channels), ("modes", self.modes)):
            twice = [value for value in values if values.count(value) > 1]
            if twice:
                raise ValueError(f"sanity.{name}: {twice[0]} is named twice")
        return self


class OcclusionRun(JobSpec):
    """Occlusion maps of some images of a corpus."""

    occlude: OccludeSpec


class InversionRun(JobSpec):
    """Inversions of some images of a corpus."""

    invert: InvertSpec = InvertSpec()

    def resolved(self, device: str) -> Self:
        """The spec with the device and the batch that will be used."""
        batch = INVERSION_BATCH[device] if self.invert.batch == "auto" else self.invert.batch
        invert = self.invert.model_copy(update={"batch": batch})
        return super().resolved(device).model_copy(update={"invert": invert})

    @property
    def batch_size(self) -> int:
        """Most inversions in one forward pass."""
        return int(self.invert.batch)

    def with_smaller_batch(self) -> Self | None:
        """The spec with half the batch."""
        smaller = self.batch_size // 2
        return (
            self.model_copy(update={"invert": self.invert.model_copy(update={"batch": smaller})}) if smaller else None
        )


class EvolutionRun(RunSpec):
    """A scan of every checkpoint of a training; `model` gives the network without weights."""

    evolve: EvolveSpec


class SanityRun(JobSpec):
    """The randomisation check of some units of a scan."""

    sanity: SanitySpec


class FiltersRun(Frozen):
    """The first convolutions of some networks; there is no corpus."""

    run: RunId | None = Field(None, description="run id; made from the models and the time when absent")
    root: Word = Field(description="folder or fsspec URL that holds the datasets")
    models: tuple[ModelSpec, ...] = Field(min_length=1, description="the networks, side by side")


def checkpoint_name(file: str) -> str:
    """What a checkpoint is called: its file's name without the ending."""
    name = PurePosixPath(file).name
    return name.rpartition(".")[0] or name


SPECS: Mapping[str, type[JobSpec] | type[FiltersRun]] = {
    "scan": RunSpec,
    "occlude": OcclusionRun,
    "invert": InversionRun,
    "sanity": SanityRun,
    "filters": FiltersRun,
    "evolve": EvolutionRun,
    "invariance": InvarianceRun,
    "correspondence": CorrespondenceRun,
}
