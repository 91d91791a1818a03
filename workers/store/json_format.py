"""Values as JSON files. Takes frozen values, gives bytes; takes bytes, gives values, or an error of one line."""

import json
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

Value = TypeVar("Value")


class JsonFormat(Generic[Value]):
    """Encodes values of one type as JSON, and decodes them.

    Unknown keys are ignored: a newer version may have written them.

    Args:
        kind: the type, such as a pydantic model or a dataclass.
        indent: spaces of indentation, or None for one line.
        sort_keys: whether keys are sorted by name; otherwise they come in the order of the fields.
    """

    def __init__(self, kind: type[Value], *, indent: int | None = 1, sort_keys: bool = True) -> None:
        self._adapter = TypeAdapter(kind)
        self._indent, self._sort_keys = indent, sort_keys

    def encode(self, value: Value) -> bytes:
        """The file content of a value. Model fields that were never set are omitted."""
        return json.dumps(self.plain(value), indent=self._indent, sort_keys=self._sort_keys).encode()

    def plain(self, value: Value) -> Any:  # noqa: ANN401 - JSON
        """A value as dicts and lists, with keys in the order of the fields."""
        return self._adapter.dump_python(value, mode="json", exclude_unset=True)

    def decode(self, data: bytes) -> Value:
        """The value in the content of a file.

        Raises:
            ValueError: the content is not valid; the message has one line.
        """
        return self.make(parse(data))

    def make(self, plain: object) -> Value:
        """The value of plain dicts and lists.

        Raises:
            ValueError: they are not valid; the message has one line.
        """
        try:
            return self._adapter.validate_python(plain)
        except ValidationError as error:
            raise ValueError(_line(error)) from error


def parse(data: bytes) -> object:
    """Parse JSON into dicts and lists.

    Raises:
        ValueError: the data is not JSON; the message has one line.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _line(error: ValidationError) -> str:
    """The first mistake in one line, and the number of further ones."""
    first, *others = error.errors()
    place = ".".join(map(str, first["loc"]))
    message = str(first["msg"]).removeprefix("Value error, ")
    line = f"{place}: {message}" if place else message
    more = f" (and {len(others)} more)" if others else ""
    return " ".join(f"{line}{more}".split())
