"""Validation of specs. Takes nested dicts, gives a frozen spec or an error that explains every mistake."""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from workers.errors import RunIdError, SpecError, nearest
from workers.spec.frozen import Frozen

RUN_ID = re.compile(r"[a-z][a-z0-9._-]{0,99}(?<!\.json)\Z")  # a page's data is at its path + .json
LONGEST = 200  # characters of a value in a message
_FORMS = ("int", "constrained-int", "literal['auto']", "side", "pair", "word")  # of a value that has several
INT64 = range(-(2**63), 2**63)

AnySpec = TypeVar("AnySpec", bound=Frozen)


def slug(*names: str) -> str:
    """The start of a run id made from names: at most 70 of a-z, 0-9 and hyphens, a letter first; may be empty."""
    words = re.sub(r"[^a-z0-9]+", "-", "-".join(names).lower())
    return words.lstrip("-0123456789")[:70].rstrip("-")


def check_run_id(run: str) -> str:
    """Return the run id.

    Raises:
        RunIdError: it is malformed.
    """
    if not RUN_ID.match(run):
        raise RunIdError(
            f"{run!r} is not a valid run id: use a lower-case letter, then up to 99 of a-z 0-9 . _ -"
            " (such as 'flowers-zfnet'), not ending in .json"
        )
    return run


def make(kind: type[AnySpec], values: dict[str, Any]) -> AnySpec:
    """Make a spec from nested dicts.

    Raises:
        SpecError: with every mistake, its key and what would be right.
        RunIdError: the run id is malformed.
    """
    if isinstance(values.get("run"), str):
        check_run_id(values["run"])
    problems = _find_unusable(values)
    if problems:
        raise SpecError(problems)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise SpecError(_explain_all(kind, error)) from None


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge nested dict `over` into `base`; values of None in `over` are ignored."""
    result = dict(base)
    for key, value in over.items():
        if isinstance(value, dict):
            below = base.get(key, {})
            result[key] = merged(below if isinstance(below, dict) else {}, value)
        elif value is not None:
            result[key] = value
    return result


def _find_unusable(values: Any, key: str = "") -> list[str]:  # noqa: ANN401 - nested dicts and lists of plain values
    """Explain values that are wrong under any key: integers too large for a table, and text that no path may contain."""
    if isinstance(values, dict):
        items = [(f"{key}.{name}".removeprefix("."), value) for name, value in values.items()]
        return [line for name, value in items for line in _find_unusable(value, name)]
    if isinstance(values, list | tuple):
        return [line for number, value in enumerate(values) for line in _find_unusable(value, f"{key}.{number}")]
    if isinstance(values, int) and values not in INT64:
        return [f"{key}: an integer of {len(f'{abs(values):x}') * 4} bits is too large; at most 64 bits are supported"]
    if isinstance(values, str) and "\0" in values:
        return [f"{key}: {_quote(values)} is not valid; it contains a null character"]
    return []


def _explain_all(kind: type[BaseModel], error: ValidationError) -> list[str]:
    """One line per mistake, in the order of the spec."""
    problems = error.errors()
    return [_explain(kind, problem) for problem in problems if not _is_consequence(problem, problems)]


def _is_consequence(problem: Any, problems: Sequence[Any]) -> bool:  # noqa: ANN401 - pydantic's error dict
    """Whether a list is called too short only because pydantic drops its wrong items, which have errors of their own."""
    path = problem["loc"]
    inside = (other["loc"] for other in problems if len(other["loc"]) > len(path))
    return problem["type"] == "too_short" and any(loc[: len(path)] == path for loc in inside)


def _explain(kind: type[BaseModel], problem: Any) -> str:  # noqa: ANN401 - pydantic's error dict
    key = ".".join(str(part) for part in problem["loc"] if part not in _FORMS)
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key; {nearest(str(problem['loc'][-1]), _keys(kind, problem['loc'][:-1]))}"
    if problem["type"] == "missing":
        return f"{key}: missing; {_describe(kind, problem['loc'])}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return message
    hint = f"{message[0].lower()}{message[1:]} ({_describe(kind, problem['loc'])})"
    return f"{key}: {_quote(problem['input'])} is not valid; {hint}"


def _quote(value: object) -> str:
    """The repr of a value, truncated if long."""
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


def _describe(kind: type[BaseModel], path: tuple[Any, ...]) -> str:
    fields = _table(kind, path).model_fields
    names = [part for part in path if part in fields]
    return (
        (fields[names[-1]].description or f"a table [{names[-1]}]")
        if names
        else "see the spec files in docs/reference.md"
    )
