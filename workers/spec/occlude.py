"""The spec of an occlusion run. Takes nested values, gives frozen ones."""

from pydantic import Field

from workers.spec.frozen import Frozen
from workers.spec.parts import Fill, JobSpec, RunId, Word


class OccludeSpec(Frozen):
    """Which images are occluded, by what square, and what is measured."""

    layer: Word = Field(description="layer whose strongest feature map is measured")
    images: tuple[Word, ...] = Field((), description="image ids; by default a sample")
    sample: int = Field(8, ge=1, description="number of images in the sample")
    size: int = Field(32, ge=1, description="side of the square, in model-input pixels")
    stride: int = Field(8, ge=1, description="distance between neighbouring positions, in model-input pixels")
    fill: Fill = Field(Fill.GREY, description="content of the square: grey, mean or blur")
    target: Word = Field(
        "label",
        description="class to measure: label (predicted if the label is not a class), predicted, or a class name or number",
    )
    from_run: RunId | None = Field(
        None, description="published scan under the same root; its projections of the channel are shown as well"
    )


class OcclusionRun(JobSpec):
    """Occlusion maps of some images of a corpus."""

    occlude: OccludeSpec


SPEC = OcclusionRun
