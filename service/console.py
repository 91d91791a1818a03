"""A run on the terminal. Takes phases and numbers, shows progress bars on standard error; plain lines where that is no terminal."""

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Bars:
    """A watcher with one progress bar per phase: done, total, rate, rejects, time left."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description:8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}{task.fields[rejects]}"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task: TaskID | None = None
        self._started = 0.0
        self._unit = ""
        if self._console.is_terminal:
            self._progress.start()

    def phase(self, name: str, total: int | None, unit: str) -> None:
        """A phase begins."""
        self._started, self._unit = time.monotonic(), unit
        self._task = self._progress.add_task(name, total=total, rate="", rejects="")
        if not self._console.is_terminal:
            self._console.print(name if total is None else f"{name}: {total} {unit}", highlight=False)

    def advance(self, done: int, rejects: int = 0) -> None:
        """So many are done in this phase."""
        if self._task is not None:
            rate = done / max(time.monotonic() - self._started, 1e-6)
            lost = f", {rejects} rejected" if rejects else ""
            self._progress.update(self._task, completed=done, rate=f"{rate:.0f} {self._unit}/s", rejects=lost)

    def say(self, line: str) -> None:
        """One line for a person."""
        self._console.print(line, highlight=False, markup=False)

    def close(self) -> None:
        """The run is over."""
        self._progress.stop()
