"""The forms of labels, groups and splits, such as folder:N or column:NAME. Takes a form, gives a value."""

import re
from dataclasses import dataclass
from pathlib import PurePath

from workers import locations
from workers.spec.patterns import Pattern

FORMS = (
    "none, folder (the name of the image's folder), folder:N (the N-th folder up from the file), "
    "column:NAME (a column of a list or a Parquet file), FILE.csv (with columns image_id and {what}), "
    "or a regular expression matched against the image id; its first capture group gives the {what}"
)
FORM_KEYS = ("label", "group", "splits")  # keys of a corpus that are such forms
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


@dataclass(frozen=True)
class FileKey:
    """The value in a CSV file with a column of image ids.

    Attributes:
        place: path or URL of the file.
        column: the column of the values.
    """

    place: str
    column: str


Key = NoKey | FolderKey | PatternKey | ColumnKey | FileKey


def parse(form: str, what: str) -> Key:
    """The value of a form.

    Args:
        form: the form.
        what: "label", "group" or "split", which is also the column of a file.

    Raises:
        ValueError: it is none of the forms.
    """
    folder = _FOLDER.fullmatch(form)
    if folder:
        return FolderKey(int(folder[1]) if folder[1] else None)
    if form.startswith(_COLUMN) and form != _COLUMN:
        return ColumnKey(form.removeprefix(_COLUMN))
    if is_file(form):
        return FileKey(form, what)
    if form == "none":
        return NoKey()
    _refuse_misspelt(form, what)
    try:
        return PatternKey(Pattern(form))
    except ValueError as error:
        raise ValueError(f"{what} '{form}' cannot be used as a regular expression: {error}") from None


def _refuse_misspelt(form: str, what: str) -> None:
    """Refuse what is probably meant as another form than a regular expression.

    Raises:
        ValueError: it is.
    """
    plain = "" if "(" in form else form.lower()
    if plain == "folder" or plain.startswith(("folder:", "folders")):
        raise ValueError(f"{what} '{form}' is neither folder nor folder:N, where N is from 1 to 99")
    if plain.startswith((_COLUMN, "columns")):
        raise ValueError(f"{what} '{form}' is not valid; write column:NAME, where NAME is a column")
    if what == "label" and "(" not in form:
        raise ValueError(f"{what} '{form}' is not one of {FORMS.format(what=what)}")


def is_file(form: str) -> bool:
    """Whether a form is the path or URL of a file."""
    return form.endswith(".csv") and "(" not in form


def absolute(form: str, folder: PurePath) -> str:
    """A form whose file, if it is one, is resolved against `folder`."""
    return locations.absolute(form, folder) if is_file(form) else form
