"""Logs. Takes messages and fields, writes each message as one line of text or JSON to standard error.

This is the only place that configures logging. Fields are plain values: run, attempt, shard, result, node; request, route,
status, the name of a key. Secrets are never logged.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from types import TracebackType
from typing import Self

from workers.errors import UsageError

FORMAT = "DECONVOY_LOG_FORMAT"
ERROR, WARNING, INFO, DEBUG = logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG

_LOGGER = logging.getLogger("deconvoy")


class Form(StrEnum):
    """The format of a line. Only JSON contains the fields."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True)
class Log:
    """Writes log lines with common fields.

    Attributes:
        about: the fields of every line.
    """

    about: Mapping[str, object] = field(default_factory=dict)

    def to(self, **more: object) -> Self:
        """A log with additional fields."""
        return type(self)({**self.about, **more})

    def say(self, line: str, level: int = INFO, *, error: BaseException | None = None, **more: object) -> None:
        """Write one line, with the traceback of `error` if given."""
        _LOGGER.log(level, "%s", line, exc_info=error, extra={"fields": {**self.about, **more}})


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """A class of its own, so that `set_up` recognises its earlier handler."""


class _Text(logging.Formatter):
    """Formats a record as text: the time, the level if above INFO, and the message, without fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, followed by a traceback if there is one."""
        level = f"{record.levelname.lower()}: " if record.levelno > INFO else ""
        line = f"{_time(record, 'seconds')} {level}{one_line(record.getMessage())}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _Json(logging.Formatter):
    """Formats a record as one JSON object in ASCII, so that no name can end the line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, including any traceback."""
        entry = {
            "time": _time(record, "milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.name != _LOGGER.name:
            entry["logger"] = record.name
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps({**entry, **{key: value for key, value in _fields(record) if key not in entry}}, default=str)


def set_up(form: str | None = None) -> None:
    """Configure this process's logs: its own lines, and warnings of libraries.

    Args:
        form: text or json; by default the environment's, else text.

    Raises:
        UsageError: it is neither.
    """
    chosen = form or os.environ.get(FORMAT) or Form.TEXT
    if chosen not in list(Form):
        raise UsageError(f"log format {chosen!r} is not valid; use text or json")
    handler, root_logger = _Handler(sys.stderr), logging.getLogger()
    handler.setFormatter(_Json() if chosen == Form.JSON else _Text())
    for earlier in [other for other in root_logger.handlers if isinstance(other, _Handler)]:
        root_logger.removeHandler(earlier)
    root_logger.addHandler(handler)
    _LOGGER.setLevel(DEBUG if chosen == Form.JSON else INFO)
    sys.excepthook = _uncaught if chosen == Form.JSON else sys.__excepthook__


def form() -> Form:
    """The log format of this process."""
    return Form.JSON if _LOGGER.level == DEBUG else Form.TEXT


def one_line(text: str) -> str:
    """The text with unprintable characters escaped, so that it cannot end a line or control a terminal."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def _time(record: logging.LogRecord, unit: str) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec=unit).replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> list[tuple[str, object]]:
    fields: Mapping[str, object] = getattr(record, "fields", {})
    return list(fields.items())


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    del kind, trace
    Log().say(f"{type(error).__name__}: {error}", logging.CRITICAL, error=error)
