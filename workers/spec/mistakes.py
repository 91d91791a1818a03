"""What is wrong with a spec. Takes pydantic's complaints, gives one line for each: key, value, and what would be right."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from workers.errors import nearest

LONGEST = 200  # characters of a value in a message
INT64 = range(-(2**63), 2**63)


def unusable(values: Any, key: str = "") -> list[str]:  # noqa: ANN401 - nested dicts and lists of plain values
    """Values that are not wrong in one place but in any: integers that no table holds, and text that no path holds."""
    if isinstance(values, dict):
        return [line for name, value in values.items() for line in unusable(value, f"{key}.{name}".removeprefix("."))]
    if isinstance(values, list | tuple):
        return [line for number, value in enumerate(values) for line in unusable(value, f"{key}.{number}")]
    if isinstance(values, int) and values not in INT64:
        return [f"{key}: an integer of {len(f'{abs(values):x}') * 4} bits is wrong; it has to fit into 64"]
    if isinstance(values, str) and "\0" in values:
        return [f"{key}: {_shown(values)} is wrong; it holds a null character"]
    return []


def mistakes(kind: type[BaseModel], error: ValidationError) -> list[str]:
    """Every mistake in a line of its own, in the order of the spec."""
    every = error.errors()
    return [_explain(kind, problem) for problem in every if not _follows(problem, every)]


def _follows(problem: Any, every: Sequence[Any]) -> bool:  # noqa: ANN401 - pydantic's error dict
    """Whether a list is called too short only because pydantic leaves its wrong items out: these are told themselves."""
    place = problem["loc"]
    inside = (other["loc"] for other in every if len(other["loc"]) > len(place))
    return problem["type"] == "too_short" and any(loc[: len(place)] == place for loc in inside)


def _explain(kind: type[BaseModel], problem: Any) -> str:  # noqa: ANN401 - pydantic's error dict
    key = ".".join(str(part) for part in problem["loc"] if part not in ("int", "constrained-int", "literal['auto']"))
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key; {nearest(str(problem['loc'][-1]), _keys(kind, problem['loc'][:-1]))}"
    if problem["type"] == "missing":
        return f"{key}: missing; {_about(kind, problem['loc'])}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return message
    return f"{key}: {_shown(problem['input'])} is wrong; {message[0].lower()}{message[1:]} ({_about(kind, problem['loc'])})"


def _shown(value: object) -> str:
    """A value as a program would write it, or the beginning of a long one."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _table(kind: type[BaseModel], path: tuple[Any, ...]) -> type[BaseModel]:
    table = kind
    for part in path:
        annotation = table.model_fields[part].annotation if part in table.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        table = annotation
    return table


def _keys(kind: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    return list(_table(kind, path).model_fields)


def _about(kind: type[BaseModel], path: tuple[Any, ...]) -> str:
    fields = _table(kind, path).model_fields
    names = [part for part in path if part in fields]
    return (fields[names[-1]].description or f"a table [{names[-1]}]") if names else "see the README's spec"
