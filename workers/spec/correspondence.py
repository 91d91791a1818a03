"""What a correspondence run is asked to do."""

from collections import Counter
from typing import Self

from pydantic import Field, model_validator

from workers.spec.parts import Fill, Frozen, JobSpec, Word


class PartBox(Frozen):
    """Where a part is seen in an image: rows [top, bottom) and columns [left, right) of the upright source image."""

    image_id: Word = Field(description="image id")
    part: Word = Field(description="name of the part, the same in every image")
    top: int = Field(ge=0, description="first row, pixels")
    left: int = Field(ge=0, description="first column, pixels")
    bottom: int = Field(description="row after the last, pixels")
    right: int = Field(description="column after the last, pixels")

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
        description="boxes of parts: image_id, part, top, left, bottom, right; each part in at least two images",
    )
    layers: tuple[Word, ...] = Field(
        (),
        description="layer names, globs, or auto; by default the last rectified convolution and the last rectified layer",
    )
    draws: int = Field(
        10, ge=0, le=1000, description="number of times that boxes of the same sizes are hidden at random places"
    )
    seed: int = Field(0, ge=0, description="random seed of the places")
    fill: Fill = Field(Fill.GREY, description="content of a hidden box: grey, mean or blur")

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


class CorrespondenceRun(JobSpec):
    """Whether hiding the same part of several images changes features in the same way."""

    correspondence: CorrespondenceSpec


SPEC = CorrespondenceRun
