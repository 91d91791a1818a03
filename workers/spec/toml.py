"""Specs as TOML files. Takes a path, or a text and its folder, gives nested dicts with absolute paths."""

import tomllib
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

from workers import locations
from workers.errors import SpecError
from workers.host.retrying import reason
from workers.sources.registry import source_of
from workers.spec import families, keys

Absolute = Callable[[str, PurePath], str]

LARGEST_BYTES = 10_000_000
DEEPEST = 16


def read_toml(text: str, folder: PurePath) -> dict[str, Any]:
    """Parse the text of a spec file; relative paths in it are resolved against `folder`.

    Raises:
        SpecError: it is not valid TOML, or is nested too deeply.
    """
    try:
        values = tomllib.loads(text.removeprefix("\ufeff"))
    except RecursionError:
        raise SpecError(["the spec is nested too deeply; a spec is a set of tables that hold keys"]) from None
    except ValueError as error:  # from tomllib, or from Python for integers with thousands of digits
        raise SpecError([f"the spec is not valid TOML: {error}"]) from None
    if _depth(values) > DEEPEST:
        raise SpecError(
            [f"the spec is nested more than {DEEPEST} levels deep; a spec is a set of tables that hold keys"]
        )
    _make_absolute(values, folder)
    return values


def read_spec(path: Path) -> dict[str, Any]:
    """Parse a spec file; relative paths in it are resolved against its folder.

    Raises:
        SpecError: it cannot be read, is far too large, or is not valid TOML.
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


def _depth(values: Any) -> int:  # noqa: ANN401 - any value of TOML
    """How deeply tables and lists are nested; computed without recursion."""
    depth, level = 0, [values]
    while level and depth <= DEEPEST:
        children = [value.values() if isinstance(value, dict) else value for value in level]
        level = [value for values in children for value in values if isinstance(value, dict | list)]
        depth += 1
    return depth


def _make_absolute(values: dict[str, Any], folder: PurePath) -> None:
    """Resolve every relative path in a spec against `folder`; values that are not text are left for the spec to refuse."""

    def change(table: object, key: str, absolute: Absolute) -> None:
        if isinstance(table, dict) and isinstance(table.get(key), str):
            table[key] = absolute(table[key], folder)

    change(values, "root", locations.absolute)
    change(values.get("corpus"), "source", lambda source, folder: source_of(source).absolute(source, folder))
    change(values.get("corpus"), "within", locations.absolute)
    for key in keys.FORM_KEYS:
        change(values.get("corpus"), key, keys.absolute)
    change(values.get("corpus"), "label_names", locations.absolute)
    models = values.get("models")
    for model in (values.get("model"), *(models if isinstance(models, list) else ())):
        change(model, "source", families.absolute)
        change(model, "classes", locations.absolute)
    change(values.get("concepts"), "encoder", families.absolute)
    evolve = values.get("evolve")
    if isinstance(evolve, dict) and isinstance(evolve.get("checkpoints"), list):
        evolve["checkpoints"] = [
            locations.absolute(file, folder) if isinstance(file, str) else file for file in evolve["checkpoints"]
        ]
