"""Values as JSON files. Takes frozen values, gives bytes; takes bytes, gives values, or says in one line what is wrong."""

import json
from typing import Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

Value = TypeVar("Value")


class JsonFormat(Generic[Value]):
    """How the values of one type are written as JSON and read back.

    Keys that a type does not know are ignored: a newer version may have written them.

    Args:
        kind: the type, a pydantic model or dataclass.
        indent: spaces of indentation, or None for one line.
        sort_keys: whether keys are sorted by name; otherwise they come in the order of the fields.
    """

    def __init__(self, kind: type[Value], *, indent: int | None = 1, sort_keys: bool = True) -> None:
        self._adapter = TypeAdapter(kind)
        self._indent, self._sort_keys = indent, sort_keys

    def encode(self, value: Value) -> bytes:
        """The file of a value. Fields of a model that were never set are left out."""
        plain = self._adapter.dump_python(value, mode="json", exclude_unset=True)
        return json.dumps(plain, indent=self._indent, sort_keys=self._sort_keys).encode()

    def decode(self, data: bytes) -> Value:
        """The value in a file.

        Raises:
            ValueError: there is none, and why, in one line.
        """
        return self.make(parse(data))

    def make(self, plain: object) -> Value:
        """The value that plain dicts and lists stand for.

        Raises:
            ValueError: there is none, and why, in one line.
        """
        try:
            return self._adapter.validate_python(plain)
        except ValidationError as error:
            raise ValueError(_line(error)) from error


def parse(data: bytes) -> object:
    """JSON as dicts and lists.

    Raises:
        ValueError: it is not JSON, and why, in one line.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _line(error: ValidationError) -> str:
    """The first mistake, and how many there are besides it."""
    first, *others = error.errors()
    place = ".".join(map(str, first["loc"]))
    message = str(first["msg"]).removeprefix("Value error, ")
    line = f"{place}: {message}" if place else message
    more = f" (and {len(others)} more)" if others else ""
    return " ".join(f"{line}{more}".split())
