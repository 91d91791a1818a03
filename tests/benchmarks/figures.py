"""Measured figures. Takes what benchmarks measured, gives lines, a table and JSON."""

import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import version


@dataclass(frozen=True)
class Figure:
    """One measured quantity.

    Attributes:
        what: what was measured.
        unit: unit of the values; empty for ratios.
        values: one for each round.
        goal: what the median should reach; None if nothing was set.
        at_most: whether the goal is an upper limit.
    """

    what: str
    unit: str
    values: tuple[float, ...]
    goal: float | None = None
    at_most: bool = False

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def reached(self) -> bool | None:
        """Whether the median reaches the goal; None without one."""
        if self.goal is None:
            return None
        return self.median <= self.goal if self.at_most else self.median >= self.goal

    @property
    def aim(self) -> str:
        """The goal as text."""
        if self.goal is None:
            return ""
        return f"{'at most' if self.at_most else 'at least'} {_short(self.goal)}"

    @property
    def spread(self) -> str:
        """The median, and the extremes of several rounds."""
        if len(self.values) == 1:
            return _short(self.median)
        return f"{_short(self.median)} ({_short(min(self.values))} to {_short(max(self.values))})"

    def __str__(self) -> str:
        """One line."""
        goal = f"; goal: {self.aim}" if self.goal is not None else ""
        return f"{self.what}: {self.spread}{f' {self.unit}' if self.unit else ''}{goal}"


def table(figures: Iterable[Figure]) -> str:
    """A table in Markdown."""
    lines = ["| measure | median (minimum to maximum) | goal | reached |", "|---|---|---|---|"]
    for figure in figures:
        reached = {None: "", True: "yes", False: "no"}[figure.reached]
        unit = f" {figure.unit}" if figure.unit else ""
        lines.append(f"| {figure.what} | {figure.spread}{unit} | {figure.aim} | {reached} |")
    return "\n".join(lines)


def machine() -> str:
    """The machine and the software, in one line."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = {line.partition(":")[2].strip() for line in file if line.startswith("model name")}
    except OSError:
        names = {platform.processor()}
    software = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "ray", "pillow"))
    return f"{os.cpu_count()} CPUs ({', '.join(sorted(names))}), Python {platform.python_version()}, {software}"


Sections = Mapping[str, Sequence[Figure]]


def encode(sections: Sections) -> str:
    """Figures by section as JSON."""
    values = {
        title: [{**asdict(figure), "median": figure.median, "reached": figure.reached} for figure in figures]
        for title, figures in sections.items()
    }
    measured = datetime.now(UTC).date().isoformat()
    return json.dumps({"measured": measured, "machine": machine(), "sections": values}, indent=1) + "\n"


def decode(text: str) -> Sections:
    """The figures that `encode` wrote."""
    names = [field.name for field in fields(Figure)]
    return {
        title: [
            Figure(**{name: value[name] for name in names} | {"values": tuple(value["values"])}) for value in values
        ]
        for title, values in json.loads(text)["sections"].items()
    }


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
