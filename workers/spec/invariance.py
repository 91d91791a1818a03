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
        (), description="layer names, globs, or 'auto'; none: the first and the last rectified layer, and the output"
    )
    images: tuple[Word, ...] = Field((), description="image ids; none: a sample")
    sample: int = Field(5, ge=1, description="images to take if none are named")
    transforms: tuple[Transform, ...] = Field(
        (Transform.TRANSLATE_Y, Transform.SCALE, Transform.ROTATE),
        min_length=1,
        description="translate_y, translate_x, scale, rotate",
    )
    translations: tuple[int, ...] = Field(
        (), description="model-input pixels, down or to the right; none: 13 up to 60 of 224 of the input's side"
    )
    scales: tuple[Scale, ...] = Field(
        tuple(1 + tenth / 10 for tenth in range(9)), description="factors about the centre, 0.1 to 10; above 1 enlarge"
    )
    rotations: tuple[Angle, ...] = Field(
        tuple(float(degrees) for degrees in range(0, 361, 15)), description="degrees counter-clockwise about the centre"
    )
    border: Border = Field(Border.REFLECT, description="what is seen beyond the border: grey, edge, reflect or wrap")
    target: Word = Field(
        "label",
        description="class that is followed: 'label' (the predicted one where the label is none), 'predicted', a name or number",
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
