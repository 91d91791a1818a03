"""Safe output to a terminal. Takes text with any characters, prints it without control sequences."""

import os
import sys
from contextlib import suppress

import typer

from workers.host import log

PRINTED_AS_IS = "\n\t"
SIZE_DIGITS = 5  # of a width or height of a terminal


def echo(text: str, *, err: bool = False) -> None:
    """Print one line, on standard error if `err`."""
    typer.echo(log.one_line(text), err=err)


def echo_log(text: str) -> None:
    """Print the output of a program, without adding a line end."""
    typer.echo("".join(letter if letter in PRINTED_AS_IS else log.one_line(letter) for letter in text), nl=False)


def complain(line: str) -> None:
    """Print an error or a warning as one line on standard error."""
    echo(f"deconvoy: {line}", err=True)


def accept_any_text() -> None:
    """Escape characters that the terminal's encoding lacks; without this, Python raises an error."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Drop buffered output that cannot be written; otherwise Python tries again when it exits, and prints an error."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def ignore_impossible_sizes() -> None:
    """Remove sizes of the terminal from the environment that are not numbers of up to five digits; rich would fail on them."""
    for name in ("COLUMNS", "LINES"):
        size = os.environ.get(name, "")
        if not (size.isascii() and size.isdecimal() and len(size) <= SIZE_DIGITS):
            os.environ.pop(name, None)
