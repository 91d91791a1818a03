"""Sizes and paddings as specs write them: a side, a height and width, or a word. Takes what a user wrote, gives typed values."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError


def _form_of(value: object) -> str:
    """The form in which a size is written: a side, a height and width, or a word."""
    if isinstance(value, list | tuple):
        return "pair"
    return "word" if isinstance(value, str) and not value.strip().isdecimal() else "side"


def _require_form(forms: str, word: str | None = None) -> BeforeValidator:
    """Refuse words other than `word`, and booleans, which pydantic takes for 0 and 1."""

    def check(value: object) -> object:
        parts = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(part, bool) for part in parts) or (_form_of(value) == "word" and value != word):
            raise PydanticCustomError("form", "{forms}", {"forms": f"give {forms}"})
        return value

    return BeforeValidator(check)


_Resized = Annotated[int, Field(ge=1, le=65_536)]
_Input = Annotated[int, Field(ge=1, le=8192)]
# One form is chosen first, so that a mistake has one message.
Resize = Annotated[
    Annotated[_Resized, Tag("side")] | Annotated[tuple[_Resized, _Resized], Tag("pair")],
    Discriminator(lambda value: "pair" if _form_of(value) == "pair" else "side"),
    _require_form("a side (224), or a height and a width ([224, 300]; as a flag 224,300)"),
]
Crop = Annotated[
    Annotated[_Input, Tag("side")]
    | Annotated[tuple[_Input, _Input], Tag("pair")]
    | Annotated[Literal["none"], Tag("word")],
    Discriminator(_form_of),
    _require_form("a side (224), a height and a width ([224, 300]; as a flag 224,300) or none", "none"),
]
Pad = Annotated[
    Annotated[int, Field(ge=0, le=255), Tag("side")] | Annotated[Literal["mean"], Tag("word")],
    Discriminator(_form_of),
    _require_form("mean, or a value from 0 to 255", "mean"),
]
