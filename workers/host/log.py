"""Logs. Takes lines and what they are about, writes each as one line of text or of JSON to standard error.

This is the one place that sets logging up. Fields are plain values: run, attempt, shard, result, node; request, route, status,
the name of a key. Nobody gives a secret to it.
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
    """How a line is written: for people, or for programs, which are told more."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True)
class Log:
    """Writes lines about something.

    Attributes:
        about: fields of every line.
    """

    about: Mapping[str, object] = field(default_factory=dict)

    def to(self, **more: object) -> Self:
        """The same log about something narrower."""
        return type(self)({**self.about, **more})

    def say(self, line: str, level: int = INFO, *, error: BaseException | None = None, **more: object) -> None:
        """Write one line, with the traceback of an error if one is given."""
        _LOGGER.log(level, "%s", line, exc_info=error, extra={"fields": {**self.about, **more}})


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Ours, to be told from those of others."""


class _Text(logging.Formatter):
    """Time, a level that is worth a word, and the line; the fields are for programs."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback below it."""
        level = f"{record.levelname.lower()}: " if record.levelno > INFO else ""
        line = f"{_time(record, 'seconds')} {level}{one_line(record.getMessage())}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _Json(logging.Formatter):
    """One object of JSON in ASCII, so that nothing in a name ends the line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, a traceback included."""
        told = {
            "time": _time(record, "milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.name != _LOGGER.name:
            told["logger"] = record.name
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps({**told, **{key: value for key, value in _fields(record) if key not in told}}, default=str)


def set_up(form: str | None = None) -> None:
    """Let this process log: its own lines, and warnings of the libraries that it uses.

    Args:
        form: text or json; what the environment says without it, and text if that says nothing.

    Raises:
        UsageError: it is neither.
    """
    chosen = form or os.environ.get(FORMAT) or Form.TEXT
    if chosen not in list(Form):
        raise UsageError(f"log format {chosen!r} is neither text nor json")
    handler, everyone = _Handler(sys.stderr), logging.getLogger()
    handler.setFormatter(_Json() if chosen == Form.JSON else _Text())
    for before in [each for each in everyone.handlers if isinstance(each, _Handler)]:
        everyone.removeHandler(before)
    everyone.addHandler(handler)
    _LOGGER.setLevel(DEBUG if chosen == Form.JSON else INFO)
    sys.excepthook = _uncaught if chosen == Form.JSON else sys.__excepthook__


def form() -> Form:
    """How this process writes."""
    return Form.JSON if _LOGGER.level == DEBUG else Form.TEXT


def one_line(text: str) -> str:
    """Text in which nothing ends a line or steers a terminal: what cannot be printed is escaped."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def _time(record: logging.LogRecord, unit: str) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec=unit).replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> list[tuple[str, object]]:
    found: Mapping[str, object] = getattr(record, "fields", {})
    return list(found.items())


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    del kind, trace
    Log().say(f"{type(error).__name__}: {error}", logging.CRITICAL, error=error)
