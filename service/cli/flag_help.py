"""Help texts of flags. Takes a command whose flags fill a spec, gives each flag the description of its key."""

from collections.abc import Iterator, Sequence

from pydantic import BaseModel
from typer.core import TyperOption

from workers.kinds import Kind
from workers.spec.kinds import SPECS
from workers.spec.parts import ModelSpec


def fill_help(parameters: Sequence[object], command: str) -> None:
    """Describe the flags of a command that have no help text of their own."""
    texts = {name: field.description or "" for name, field in ModelSpec.model_fields.items()}
    if command in list(Kind):
        texts |= dict(_descriptions(Kind(command)))
    for parameter in parameters:
        if isinstance(parameter, TyperOption) and not parameter.help and parameter.name in texts:
            parameter.help = _sentence(texts[parameter.name], repeatable=parameter.multiple)


def _descriptions(kind: Kind) -> Iterator[tuple[str, str]]:
    """Names and descriptions of a spec's keys. A key of the kind's own table comes last, so it wins over its namesakes."""
    tables = SPECS[kind].model_fields
    for name, field in sorted(tables.items(), key=lambda item: item[0] == kind):
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys = field.annotation.model_fields
            yield from ((key, keys[key].description or "") for key in keys)
            if "source" in keys:
                yield name, keys["source"].description or ""
        else:
            yield name, field.description or ""


def _sentence(description: str, *, repeatable: bool) -> str:
    return f"{description[0].upper()}{description[1:]}." + (" Repeatable." if repeatable else "")
