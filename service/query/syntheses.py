"""Synthetic images of channels. Takes a synthesis run, gives its rows by layer and channel."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from service.query.catalog import PublishedRun
from service.query.findings import Finding
from service.query.reading import read
from workers.store.tables.synthesise import SYNTHESES


@dataclass(frozen=True)
class Synthesis:
    """A channel's synthetic image: the number of its row, and the largest activation."""

    number: int
    score: float


def is_comparable(one: PublishedRun, other: PublishedRun) -> bool:
    """Whether scores of two runs can be compared: they have the same network, and prepare images in the same way."""
    return one.fingerprint == other.fingerprint and one.preprocessing == other.preprocessing


def read_syntheses(run: PublishedRun) -> Mapping[tuple[str, int], Synthesis]:
    """The synthetic images of a run, by layer and channel, without the channels that have none.

    Raises:
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    rows = read(run, SYNTHESES, pc.scalar(True), ["layer", "channel", "status", "score"]).to_pylist()
    return {
        (row["layer"], row["channel"]): Synthesis(number, row["score"])
        for number, row in enumerate(rows)
        if row["status"] == "ok"
    }


def read_found(run: PublishedRun) -> tuple[Sequence[str], Callable[[int], Finding]]:
    """The layer of each row of a run, and a function that gives a row by its number. No picture is read.

    Raises:
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    names = ("layer", "layer_index", "channel", "status", "score", "mean", "settings")
    table = read(run, SYNTHESES, pc.scalar(True), list(names))

    def row(number: int) -> Finding:
        [values] = table.slice(number, 1).to_pylist()
        return Finding(run, SYNTHESES, number, values, ("synthesis",) if values["status"] == "ok" else ())

    return table["layer"].to_pylist(), row
