"""Files that a pattern names. Takes a path or URL with or without signs of a glob, gives files in the order of their numbers."""

import glob
import re

from workers import files
from workers.errors import SpecError


def matching(pattern: str, key: str) -> list[str]:
    """The file itself, or those that a glob matches: epoch-2 comes before epoch-10.

    Args:
        pattern: a path or an fsspec URL.
        key: of the spec, for the error.

    Raises:
        SpecError: nothing matches the glob, or its protocol is unknown.
    """
    if not glob.has_magic(pattern):
        return [pattern]
    try:
        filesystem, path = files.filesystem(pattern)
        found = sorted((str(each) for each in filesystem.glob(path)), key=_by_numbers)
    except (ValueError, ImportError, OSError) as error:
        raise SpecError([f"{key}: {pattern!r} cannot be listed: {error}"]) from error
    if not found:
        raise SpecError([f"{key}: nothing matches {pattern!r}"])
    return [str(filesystem.unstrip_protocol(file)) if "://" in pattern else file for file in found]


def _by_numbers(file: str) -> list[tuple[int, int, str]]:
    """Words by the alphabet, numbers by their value."""
    return [(0, int(word), "") if word.isdecimal() else (1, 0, word) for word in re.split(r"(\d+)", file)]
