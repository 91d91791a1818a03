"""The forms of labels and groups: none, folder, folder:N, column:NAME, or a regular expression. Takes a form, gives a value."""

import re
from dataclasses import dataclass

from workers.spec.patterns import Pattern

FORMS = (
    "none, folder (the name of the image's folder), folder:N (the N-th folder, counted from the file), "
    "column:NAME (a column of a list or of Parquet), or a regular expression on the image id whose first group, in "
    "parentheses, is the {what}"
)
_COLUMN = "column:"
_FOLDER = re.compile(r"folder(?::([1-9]\d?))?")


@dataclass(frozen=True)
class NoKey:
    """No label or group."""


@dataclass(frozen=True)
class FolderKey:
    """The name of a folder.

    Attributes:
        number: which, counted from the file; None if it was not given, which means the first.
    """

    number: int | None = None


@dataclass(frozen=True)
class PatternKey:
    """The first group of a pattern, matched against the image id."""

    pattern: Pattern


@dataclass(frozen=True)
class ColumnKey:
    """The value of a column.

    Attributes:
        name: its name.
    """

    name: str


Key = NoKey | FolderKey | PatternKey | ColumnKey


def parse(form: str, what: str) -> Key:
    """The value of a form.

    Args:
        form: the form.
        what: "label" or "group", for the error.

    Raises:
        ValueError: it is none of the forms.
    """
    folder = _FOLDER.fullmatch(form)
    if folder:
        return FolderKey(int(folder[1]) if folder[1] else None)
    if form.startswith(_COLUMN) and form != _COLUMN:
        return ColumnKey(form.removeprefix(_COLUMN))
    if form == "none":
        return NoKey()
    if form.lower().startswith(("folder:", "folders", _COLUMN, "columns")) or (what == "label" and "(" not in form):
        raise ValueError(f"{what} {form!r} is not one of {FORMS.format(what=what)}")
    try:
        return PatternKey(Pattern(form))
    except ValueError as error:
        raise ValueError(f"{what} {form!r} is not a regular expression that matches in linear time: {error}") from None
