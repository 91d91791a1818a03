"""Synthetic images of channels. Takes a synthesis run, gives its rows by layer and channel."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow.compute as pc

from service.query.catalog import PublishedRun
from service.query.reading import read
from workers.store.tables.synthesise import SYNTHESES


@dataclass(frozen=True)
class Synthesis:
    """A channel's synthetic image: the number of its row, and the largest activation."""

    number: int
    score: float


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
