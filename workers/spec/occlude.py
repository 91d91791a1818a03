"""What an occlusion run is asked to do."""

from pydantic import Field

from workers.spec.parts import Fill, Frozen, JobSpec, RunId, Word


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


class OcclusionRun(JobSpec):
    """Occlusion maps of some images of a corpus."""

    occlude: OccludeSpec


SPEC = OcclusionRun
