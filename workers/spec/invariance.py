"""What an invariance run is asked to do."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from workers.spec.parts import Frozen, JobSpec, Word

PAPERS_SHIFT, PAPERS_STEPS = 60 / 224, 6  # Zeiler & Fergus 2014, Figure 5: up to 60 of the input's 224 pixels


class Transform(StrEnum):
    """What is done to an image: moved down, moved to the right, enlarged, turned counter-clockwise."""

    TRANSLATE_Y = "translate_y"
    TRANSLATE_X = "translate_x"
    SCALE = "scale"
    ROTATE = "rotate"


class Border(StrEnum):
    """What is seen beyond an image's border: grey (127.5 of 255), its last pixels, the image mirrored, or again."""

    GREY = "grey"
    EDGE = "edge"
    REFLECT = "reflect"
    WRAP = "wrap"


IDENTITY: Mapping[Transform, float] = {each: float(each is Transform.SCALE) for each in Transform}


UNITS: Mapping[Transform, str] = {
    Transform.TRANSLATE_Y: "px",
    Transform.TRANSLATE_X: "px",
    Transform.SCALE: "times",
    Transform.ROTATE: "degrees",
}


Scale = Annotated[float, Field(ge=0.1, le=10, allow_inf_nan=False)]


Angle = Annotated[float, Field(ge=-360, le=360, allow_inf_nan=False)]


class InvarianceSpec(Frozen):
    """Images that are moved, enlarged and turned."""

    layers: tuple[Word, ...] = Field(
        (), description="layer names, globs, or auto; by default the first and last rectified layers and the output"
    )
    images: tuple[Word, ...] = Field((), description="image ids; by default a sample")
    sample: int = Field(5, ge=1, description="number of images in the sample")
    transforms: tuple[Transform, ...] = Field(
        (Transform.TRANSLATE_Y, Transform.SCALE, Transform.ROTATE),
        min_length=1,
        description="transforms among translate_y, translate_x, scale, rotate; by default all but translate_x",
    )
    translations: tuple[int, ...] = Field(
        (),
        description="shifts down or to the right, model-input pixels; by default 13 up to 60/224 of the input's side",
    )
    scales: tuple[Scale, ...] = Field(
        tuple(1 + tenth / 10 for tenth in range(9)),
        description="scale factors about the centre, 0.1 to 10; above 1 enlarges",
    )
    rotations: tuple[Angle, ...] = Field(
        tuple(float(degrees) for degrees in range(0, 361, 15)),
        description="rotations about the centre, degrees counter-clockwise",
    )
    border: Border = Field(Border.REFLECT, description="content beyond the image's border: grey, edge, reflect or wrap")
    target: Word = Field(
        "label",
        description="class to measure: label (predicted if the label is not a class), predicted, or a class name or number",
    )

    def amounts(self, transform: Transform, side: int) -> tuple[float, ...]:
        """How far a transform goes on an input of so many pixels: ascending, each once, and 'not at all' among them."""
        moved = [float(each) for each in self.translations or _papers_translations(side)]
        asked = {Transform.SCALE: self.scales, Transform.ROTATE: self.rotations}.get(transform, moved)
        return tuple(sorted({IDENTITY[transform], *(each + 0.0 for each in asked)}))  # -0.0 + 0.0 is 0.0


class InvarianceRun(JobSpec):
    """How features of some images of a corpus change when the images are moved, enlarged and turned."""

    invariance: InvarianceSpec = InvarianceSpec()


def _papers_translations(side: int) -> list[int]:
    return [round(step / PAPERS_STEPS * PAPERS_SHIFT * side) for step in range(-PAPERS_STEPS, PAPERS_STEPS + 1)]


SPEC = InvarianceRun
