"""The spec of a correspondence run. Takes nested values, gives frozen ones."""

from collections import Counter
from typing import Self

from pydantic import Field, model_validator

from workers.spec.frozen import Frozen
from workers.spec.parts import Fill, JobSpec, Word


class PartBox(Frozen):
    """The box of a part: rows [top, bottom) and columns [left, right) of the upright source image."""

    image_id: Word = Field(description="image id")
    part: Word = Field(description="name of the part, the same in every image")
    top: int = Field(ge=0, description="first row, in pixels")
    left: int = Field(ge=0, description="first column, in pixels")
    bottom: int = Field(description="row after the last, in pixels")
    right: int = Field(description="column after the last, in pixels")

    @model_validator(mode="after")
    def _require_area(self) -> Self:
        if self.bottom <= self.top or self.right <= self.left:
            box = f"top {self.top}, left {self.left}, bottom {self.bottom}, right {self.right}"
            raise ValueError(
                f"{self.part!r} in {self.image_id!r}: {box} is not a valid box; bottom must exceed top, and right must "
                "exceed left"
            )
        return self


class CorrespondenceSpec(Frozen):
    """Which parts of which images are hidden, and in which layers the effects are compared."""

    parts: tuple[PartBox, ...] = Field(
        min_length=2,
        description="boxes of parts: image_id, part, top, left, bottom, right; each part in at least two images",
    )
    layers: tuple[Word, ...] = Field(
        (),
        description="layer names, globs, or auto; by default the last rectified convolution and the last rectified layer",
    )
    draws: int = Field(
        10, ge=0, le=1000, description="number of times that random places are drawn for boxes of the same sizes"
    )
    seed: int = Field(0, ge=0, description="random seed for the places")
    fill: Fill = Field(Fill.GREY, description="content of a hidden box: grey, mean or blur")

    @property
    def image_ids(self) -> tuple[str, ...]:
        """The images that have a part, without repetition."""
        return tuple(dict.fromkeys(box.image_id for box in self.parts))

    def boxes_of(self, image_id: str) -> tuple[PartBox, ...]:
        """The parts of an image, sorted by name, so that their order in the spec has no effect."""
        return tuple(sorted((box for box in self.parts if box.image_id == image_id), key=lambda box: box.part))

    @model_validator(mode="after")
    def _require_parts_in_several_images(self) -> Self:
        counts = Counter((box.part, box.image_id) for box in self.parts)
        repeated = [f"{part!r} in {image_id!r}" for (part, image_id), count in counts.items() if count > 1]
        if repeated:
            raise ValueError(f"correspondence.parts: {repeated[0]} is given twice")
        single = [part for part, count in Counter(part for part, _ in counts).items() if count < 2]
        if single:
            raise ValueError(
                f"correspondence.parts: part {single[0]!r} is given in one image; two are needed to compare"
            )
        return self


class CorrespondenceRun(JobSpec):
    """A run that tests whether hiding the same part of several images changes features in the same way."""

    correspondence: CorrespondenceSpec


SPEC = CorrespondenceRun
