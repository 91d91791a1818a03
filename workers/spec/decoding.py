"""How a spec asks for images to be decoded. Takes nested values, gives frozen ones."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from pydantic_core import PydanticCustomError

from workers.spec.frozen import Frozen

AUTO = "auto"
DEEPEST = 16
WHITES = {"8": 0xFF, "12": 0xFFF, str(DEEPEST): 0xFFFF}  # the value that is white, by depth
_NUMBER = r"-?\d{1,15}(?:\.\d{1,15})?"
_RANGE = re.compile(rf"range:({_NUMBER})-({_NUMBER})", re.ASCII)
_FORMS = "give auto, 8, 12, 16, or range:LOW-HIGH such as range:0-3000"


def _check_depth(value: object) -> str:
    """The text of a depth."""
    text = str(value)
    span = _RANGE.fullmatch(text)
    is_known = text in WHITES or text == AUTO or (span is not None and float(span[1]) < float(span[2]))
    if isinstance(value, bool) or not is_known:
        raise PydanticCustomError("depth", "{forms}", {"forms": _FORMS})
    return text


Depth = Annotated[str, BeforeValidator(_check_depth)]
Band = Annotated[int, Field(ge=1, le=65_535)]


class DecodeSpec(Frozen):
    """How the samples of an image file become the values of pixels."""

    depth: Depth = Field(
        AUTO,
        description="bits of the values in 16-bit grey images: 8, 12, 16, auto (chosen from a sample of the corpus), or "
        "range:LOW-HIGH, which makes LOW black and HIGH white",
    )
    bands: tuple[Band, ...] = Field(
        (), description="bands of an image, counted from 1, that become the network's channels, such as 4,3,2"
    )
    colour: Literal["ignore", "convert"] = Field(
        "ignore", description="colour profiles inside images: ignore, or convert to sRGB"
    )
    jpeg: Literal["full", "reduced"] = Field(
        "full",
        description="size at which JPEG files are decoded: full, or reduced (1/2, 1/4 or 1/8, but never smaller than after "
        "resizing); reduced is faster for large photos, but pixels differ slightly",
    )

    @model_validator(mode="after")
    def _require_colours(self) -> Self:
        if self.bands and self.colour == "convert":
            raise ValueError("decode.colour is 'convert' but decode.bands selects bands, which have no colours")
        return self

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The keys that have other values than their defaults."""
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        return {key: value for key, value in serialize(self).items() if getattr(self, key) != defaults[key]}

    @property
    def white(self) -> int:
        """The white of 16-bit files that do not declare their own; that of 16 bits as long as no depth is chosen."""
        return WHITES.get(self.depth, WHITES[str(DEEPEST)])

    @property
    def span(self) -> tuple[float, float] | None:
        """The values of black and white; None unless the depth is a range."""
        match = _RANGE.fullmatch(self.depth)
        return (float(match[1]), float(match[2])) if match else None

    def configuration(self) -> dict[str, Any]:
        """The keys that results depend on. Without a key that has its default, results keep their names."""
        values: dict[str, Any] = self.model_dump(mode="json")
        return {key: value for key, value in values.items() if (key, value) != ("depth", str(DEEPEST))}
