"""What a run that perturbs images is asked to do. Takes nested dicts, gives frozen values; see `spec` for the scan's."""

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from workers.spec.run import Fill, Frozen, JobSpec, Word

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


class PartBox(Frozen):
    """Where a part is seen in an image: rows [top, bottom) and columns [left, right) of the upright source image."""

    image_id: Word = Field(description="image id")
    part: Word = Field(description="name of the part, the same in every image")
    top: int = Field(ge=0, description="first row, pixels")
    left: int = Field(ge=0, description="first column, pixels")
    bottom: int = Field(description="row behind the last, pixels")
    right: int = Field(description="column behind the last, pixels")

    @model_validator(mode="after")
    def _holds_something(self) -> Self:
        if self.bottom <= self.top or self.right <= self.left:
            told = f"top {self.top}, left {self.left}, bottom {self.bottom}, right {self.right}"
            raise ValueError(
                f"{self.part!r} in {self.image_id!r}: {told} is no box; bottom and right lie behind the last pixel"
            )
        return self


class CorrespondenceSpec(Frozen):
    """The same parts of several images, hidden."""

    parts: tuple[PartBox, ...] = Field(
        min_length=2,
        description="boxes of parts: image_id, part, top, left, bottom, right; each part in two images or more",
    )
    layers: tuple[Word, ...] = Field(
        (),
        description="layer names, globs, or 'auto'; none: the last rectified convolution and the last rectified layer",
    )
    draws: int = Field(10, ge=0, le=1000, description="times that boxes of the same sizes are hidden at random places")
    seed: int = Field(0, ge=0, description="of the random places")
    fill: Fill = Field(Fill.GREY, description="what a hidden box shows: grey, mean or blur")

    @property
    def image_ids(self) -> tuple[str, ...]:
        """The images that have a part, each once."""
        return tuple(dict.fromkeys(each.image_id for each in self.parts))

    def boxes_of(self, image_id: str) -> tuple[PartBox, ...]:
        """The parts of an image, by name: their order in the spec changes nothing."""
        return tuple(sorted((each for each in self.parts if each.image_id == image_id), key=lambda each: each.part))

    @model_validator(mode="after")
    def _each_part_in_several_images(self) -> Self:
        named = Counter((each.part, each.image_id) for each in self.parts)
        twice = [f"{part!r} in {image_id!r}" for (part, image_id), count in named.items() if count > 1]
        if twice:
            raise ValueError(f"correspondence.parts: {twice[0]} is given twice")
        alone = [part for part, count in Counter(part for part, _ in named).items() if count < 2]
        if alone:
            raise ValueError(
                f"correspondence.parts: part {alone[0]!r} is given in one image; two are needed to compare"
            )
        return self


class InvarianceRun(JobSpec):
    """How features of some images of a corpus change when the images are moved, enlarged and turned."""

    invariance: InvarianceSpec = InvarianceSpec()


class CorrespondenceRun(JobSpec):
    """Whether hiding the same part of several images changes features in the same way."""

    correspondence: CorrespondenceSpec


def _papers_translations(side: int) -> list[int]:
    return [round(step / PAPERS_STEPS * PAPERS_SHIFT * side) for step in range(-PAPERS_STEPS, PAPERS_STEPS + 1)]
