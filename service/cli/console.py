"""Progress and tables. Takes phases, counts and rows, shows progress on standard error and tables on standard output."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from service.query.figures import readable
from workers.host.log import one_line

DIGITS = 4  # of a measured value in a table
NARROW = 20  # characters to which a longer value may be folded in a table
PIPE_WIDTH = 400  # columns of a file or pipe, whose lines are not folded


class ProgressBars:
    """A watcher that shows one progress bar per phase: done, total, rate, time left, rejects.

    If standard error is not a terminal, each phase prints one line when it begins and one when it ends.

    Args:
        console: where to show progress; by default standard error.
    """

    is_dry = False

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, force_terminal=sys.stderr.isatty())
        self._progress = Progress(
            TextColumn("{task.description:8}"),
            BarColumn(),
            TextColumn("{task.fields[count]}", justify="right"),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[rejects]}"),
            console=self._console,
        )
        self._task: Task | None = None
        self._started = 0.0
        if self._console.is_interactive:
            self._progress.start()

    def phase(self, name: str, total: int | None, unit: str) -> None:
        """End the current phase and begin another."""
        self._end()
        number = self._progress.add_task(name, total=total, unit=unit, count="", rejects="")
        self._task, self._started = self._progress.tasks[-1], time.monotonic()
        assert self._task.id == number  # noqa: S101 - rich appends
        self._line(name if total is None else f"{name}: {total:,} {unit}")

    def advance(self, done: int, rejects: int = 0) -> None:
        """Show how many items of the phase are done and how many were rejected."""
        if self._task is not None:
            rejected = f"{rejects:,} rejected" if rejects else ""
            count = f"{done:,}" if self._task.total is None else f"{done:,}/{int(self._task.total):,}"
            self._progress.update(self._task.id, completed=done, count=count, rejects=rejected)

    def report(self, report: object) -> None:
        """Ignore the costs of a finished item: bars do not show them."""

    def begin(self, run: str) -> Mapping[str, object]:
        """Give the context of log lines: the run's id, which bars do not show."""
        return {"run": run}

    def note(self, line: str, **about: object) -> None:
        """Ignore a line that is for the log only."""

    def say(self, line: str, **about: object) -> None:  # noqa: ARG002 - a person reads the line alone
        """Print a message."""
        self._console.print(one_line(line), highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """End the last phase; the run has ended or failed."""
        self._end()
        self._task = None
        if self._console.is_interactive:
            self._progress.stop()

    def _end(self) -> None:
        if self._task is None:
            return
        self._progress.stop_task(self._task.id)
        self._line(_summary(self._task, time.monotonic() - self._started))
        if self._task.total is None:
            self._progress.update(self._task.id, total=1, completed=1)

    def _line(self, text: str) -> None:
        if not self._console.is_interactive:
            self.say(text)


class _Rate(ProgressColumn):
    """The recent rate, in units of the phase per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{_rate(speed)} {task.fields['unit']}/s" if speed and task.fields["count"] else "")


def _summary(task: Task, seconds: float) -> str:
    done, unit = int(task.completed), task.fields["unit"]
    if not done:
        return f"{task.description}: ended after {seconds:.1f} s"
    parts = [f"{task.description}: {done:,} {unit} in {seconds:.1f} s"]
    if task.total is not None and seconds > 0:
        parts.append(f"{_rate(done / seconds)} {unit}/s")
    return ", ".join(filter(None, (*parts, task.fields["rejects"])))


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.1f}"


def print_json(value: object) -> None:
    """Print exactly one JSON value, in ASCII: it has no control sequences, and every encoding can represent it."""
    typer.echo(json.dumps(value, allow_nan=False))


def print_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Print rows as a table.

    Args:
        rows: values by key.
        columns: headings by key, in order.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for key, heading in columns.items():
        numeric = bool(rows) and isinstance(rows[0][key], int | float)
        table.add_column(
            Text(one_line(heading)), justify="right" if numeric else "left", overflow="fold", no_wrap=numeric
        )
    for row in rows:
        table.add_row(*(Text(_cell(row[key])) for key in columns))
    console = Console(force_terminal=sys.stdout.isatty())
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(table)


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Print rows as a table; on a terminal too narrow for one, print each row as lines of a heading and a value.

    Args:
        rows: values by key.
        columns: headings by key, in order.
    """
    console = Console()
    natural = [max(len(columns[key]), *(len(_cell(row[key])) for row in rows)) for key in columns] if rows else []
    if not sys.stdout.isatty() or sum(min(NARROW, width) + 2 for width in natural) <= console.width:
        print_table(rows, columns)
        return
    for number, row in enumerate(rows, 1):
        lines = [{"name": heading, "value": _cell(row[key])} for key, heading in columns.items()]
        print_table(lines, {"name": f"row {number}", "value": ""})


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value is None else readable(value, DIGITS) if isinstance(value, float) else one_line(str(value))
