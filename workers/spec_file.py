"""A spec as a TOML file. Takes its path, or its text and folder, gives nested dicts whose places are absolute."""

import tomllib
from pathlib import Path, PurePath
from typing import Any

from workers.errors import SpecError
from workers.spec import weights_file


def read_toml(text: str, folder: PurePath) -> dict[str, Any]:
    """Parse a spec file's text; relative paths in it become relative to `folder`."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError([f"the spec is no TOML: {error}"]) from None
    models = values.get("models")
    tables = [values.get("model"), *(models if isinstance(models, list) else ())]
    places = [(values, "root"), (values.get("corpus"), "source")]
    for table, key in [*places, *((each, key) for each in tables for key in ("source", "classes"))]:
        if isinstance(table, dict) and isinstance(table.get(key), str):
            table[key] = relative_to(table[key], folder)
    evolve = values.get("evolve")
    if isinstance(evolve, dict) and isinstance(evolve.get("checkpoints"), list):
        evolve["checkpoints"] = [
            relative_to(each, folder) if isinstance(each, str) else each for each in evolve["checkpoints"]
        ]
    return values


def read_spec(path: Path) -> dict[str, Any]:
    """What a spec file says; relative paths in it are relative to its folder.

    Raises:
        SpecError: it cannot be read, or is no TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([f"spec file {str(path)!r} cannot be read: {error}"]) from error
    return read_toml(text, path.absolute().parent)


def relative_to(source: str, folder: PurePath) -> str:
    """Put `folder` before a relative path, also before one in `...?weights=FILE`; leave URLs and absolute paths."""
    file = weights_file(source)
    if file is not None:
        return source.removesuffix(file) + relative_to(file, folder)
    if "://" in source or "::" in source:
        return source
    return str(folder / source)
