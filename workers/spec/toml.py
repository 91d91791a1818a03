"""A spec as a TOML file. Takes its path, or its text and folder, gives nested dicts whose places are absolute."""

import tomllib
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

from workers import locations
from workers.errors import SpecError
from workers.host.retrying import reason
from workers.sources.registry import source_of
from workers.spec import families

Absolute = Callable[[str, PurePath], str]

LARGEST_BYTES = 10_000_000
DEEPEST = 16


def read_toml(text: str, folder: PurePath) -> dict[str, Any]:
    """Parse a spec file's text; relative paths in it become relative to `folder`.

    Raises:
        SpecError: it is not TOML, or is nested deeper than any spec.
    """
    try:
        values = tomllib.loads(text.removeprefix("\ufeff"))
    except RecursionError:
        raise SpecError(["the spec is nested too deeply; a spec has tables of keys"]) from None
    except ValueError as error:  # tomllib's own, and Python's of integers with thousands of digits
        raise SpecError([f"the spec is not valid TOML: {error}"]) from None
    if _depth(values) > DEEPEST:
        raise SpecError([f"the spec is nested more than {DEEPEST} deep; a spec has tables of keys"])
    _make_absolute(values, folder)
    return values


def read_spec(path: Path) -> dict[str, Any]:
    """What a spec file says; relative paths in it are relative to its folder.

    Raises:
        SpecError: it cannot be read, is far too large, or is not TOML.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
        if len(data) > LARGEST_BYTES:
            raise SpecError([f"spec file {str(path)!r} is larger than {LARGEST_BYTES:,} bytes; is it a spec?"])
        text = data.decode("utf-8")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a path with a null character
        raise SpecError([f"spec file {str(path)!r} cannot be read: {reason(error)}"]) from error
    return read_toml(text, path.absolute().parent)


def _depth(values: Any) -> int:  # noqa: ANN401 - whatever TOML holds
    """How deep tables and lists lie in each other, without recursion."""
    depth, level = 0, [values]
    while level and depth <= DEEPEST:
        below = [value.values() if isinstance(value, dict) else value for value in level]
        level = [value for values in below for value in values if isinstance(value, dict | list)]
        depth += 1
    return depth


def _make_absolute(values: dict[str, Any], folder: PurePath) -> None:
    """Put `folder` before every relative path of a spec; what is no text where a path should be is left to the spec."""

    def change(table: object, key: str, absolute: Absolute) -> None:
        if isinstance(table, dict) and isinstance(table.get(key), str):
            table[key] = absolute(table[key], folder)

    change(values, "root", locations.absolute)
    change(values.get("corpus"), "source", lambda source, folder: source_of(source).absolute(source, folder))
    models = values.get("models")
    for model in (values.get("model"), *(models if isinstance(models, list) else ())):
        change(model, "source", families.absolute)
        change(model, "classes", locations.absolute)
    evolve = values.get("evolve")
    if isinstance(evolve, dict) and isinstance(evolve.get("checkpoints"), list):
        evolve["checkpoints"] = [
            locations.absolute(file, folder) if isinstance(file, str) else file for file in evolve["checkpoints"]
        ]
