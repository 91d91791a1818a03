"""The spec of an invariance run. Takes nested values, gives frozen ones."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from workers.spec.frozen import Frozen
from workers.spec.parts import JobSpec, Word

PAPERS_SHIFT, PAPERS_STEPS = 60 / 224, 6  # Zeiler & Fergus 2014, Figure 5: up to 60 of the input's 224 pixels


class Transform(StrEnum):
    """A transform of an image: shift down, shift to the right, enlarge, rotate counter-clockwise."""

    TRANSLATE_Y = "translate_y"
    TRANSLATE_X = "translate_x"
    SCALE = "scale"
    ROTATE = "rotate"


class Border(StrEnum):
    """The content beyond an image's border: grey (127.5 of 255), its last pixels, the image mirrored or repeated."""

    GREY = "grey"
    EDGE = "edge"
    REFLECT = "reflect"
    WRAP = "wrap"


# The amount at which a transform leaves an image unchanged.
IDENTITY: Mapping[Transform, float] = {transform: float(transform is Transform.SCALE) for transform in Transform}


UNITS: Mapping[Transform, str] = {
    Transform.TRANSLATE_Y: "px",
    Transform.TRANSLATE_X: "px",
    Transform.SCALE: "times",
    Transform.ROTATE: "degrees",
}


Scale = Annotated[float, Field(ge=0.1, le=10, allow_inf_nan=False)]


Angle = Annotated[float, Field(ge=-360, le=360, allow_inf_nan=False)]


class InvarianceSpec(Frozen):
    """Which images are transformed, and how."""

    layers: tuple[Word, ...] = Field(
        (), description="layer names, globs, or auto; by default the first and last rectified layers and the output"
    )
    images: tuple[Word, ...] = Field((), description="image ids; by default a sample")
    sample: int = Field(5, ge=1, description="number of images in the sample")
    transforms: tuple[Transform, ...] = Field(
        (Transform.TRANSLATE_Y, Transform.SCALE, Transform.ROTATE),
        min_length=1,
        description="any of translate_y, translate_x, scale, rotate; by default all but translate_x",
    )
    translations: tuple[int, ...] = Field(
        (),
        description="shifts down or to the right, in model-input pixels; by default 13 shifts up to "
        "60/224 of the input's side",
    )
    scales: tuple[Scale, ...] = Field(
        tuple(1 + tenth / 10 for tenth in range(9)),
        description="scale factors about the centre, 0.1 to 10; above 1 enlarges",
    )
    rotations: tuple[Angle, ...] = Field(
        tuple(float(degrees) for degrees in range(0, 361, 15)),
        description="rotations about the centre, in degrees counter-clockwise",
    )
    border: Border = Field(Border.REFLECT, description="content beyond the image's border: grey, edge, reflect or wrap")
    target: Word = Field(
        "label",
        description="class to measure: label (predicted if the label is not a class), predicted, or a class name or number",
    )

    def amounts(self, transform: Transform, side: int) -> tuple[float, ...]:
        """The amounts of a transform, ascending and distinct, including the identity.

        Args:
            transform: the transform.
            side: side of the model's input in the direction of a shift, pixels.
        """
        shifts = [float(shift) for shift in self.translations or _papers_translations(side)]
        amounts = {Transform.SCALE: self.scales, Transform.ROTATE: self.rotations}.get(transform, shifts)
        return tuple(sorted({IDENTITY[transform], *(amount + 0.0 for amount in amounts)}))  # -0.0 + 0.0 is 0.0


class InvarianceRun(JobSpec):
    """A run that measures how features change when images are shifted, enlarged and rotated."""

    invariance: InvarianceSpec = InvarianceSpec()


def _papers_translations(side: int) -> list[int]:
    return [round(step / PAPERS_STEPS * PAPERS_SHIFT * side) for step in range(-PAPERS_STEPS, PAPERS_STEPS + 1)]


SPEC = InvarianceRun
