"""Lines for a terminal. Takes text that may hold anything, prints it so that nothing in it steers the terminal."""

import os
import sys
from contextlib import suppress

import typer

from workers.host import log

PLAIN = "\n\t"


def echo(text: str, *, err: bool = False) -> None:
    """One line, on standard error if asked for."""
    typer.echo(log.one_line(text), err=err)


def echo_log(text: str) -> None:
    """Lines that a program has printed, and no line end of ours."""
    typer.echo("".join(each if each in PLAIN else log.one_line(each) for each in text), nl=False)


def complain(line: str) -> None:
    """The one line of a command that failed, or that has something to say beside its answer."""
    echo(f"deconvoy: {line}", err=True)


def accept_any_text() -> None:
    """Escape what the terminal's encoding has no letter for, where Python would raise an error."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def let_go_of_output() -> None:
    """Drop what standard output would not take: Python tries it again at its end, and complains."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
