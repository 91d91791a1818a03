"""The rows of `evolution`. Takes what each checkpoint saw, gives its best patches and projections layer by layer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.evolve.checkpoints import Checkpoint
from jobs.project import patch_rows
from jobs.reduce import Reduced, top_rows
from jobs.run.attempt import Attempt
from jobs.run.results import Stored
from workers.actors.shard import CheckpointGroup, Shard
from workers.core import evolution
from workers.core.network import Layer
from workers.core.topk import Rows, ranks
from workers.spec.evolve import EvolutionRun
from workers.store.tables.evolve import EVOLUTION

Array = np.ndarray[Any, Any]

BLOCK_ROWS = 4096  # with their pictures in memory at once


@dataclass(frozen=True, eq=False)
class Seen:
    """What one checkpoint's new layers saw.

    Attributes:
        shards: its shards.
        reduced: their top rows and statistics.
        groups: of the best unit of each channel, once they are planned.
    """

    shards: Sequence[Shard]
    reduced: Reduced
    groups: list[CheckpointGroup] = field(default_factory=list)

    @property
    def best(self) -> Rows:
        """The best row of each channel."""
        return self.reduced.top.take(ranks(self.reduced.top) == 0)


@dataclass(frozen=True)
class Results:
    """Where results are found, or made again: those of shards, and those of groups."""

    scanned: Stored
    projected: Stored


def evolution_rows(
    run: Attempt[EvolutionRun], every: Sequence[Checkpoint], seen: Mapping[int, Seen], results: Results
) -> Iterator[pa.Table]:
    """The rows of `evolution`, sorted by layer, channel and checkpoint; some channels of a layer at a time.

    Args:
        run: the attempt.
        every: the checkpoints.
        seen: what those that have something new saw, by number.
        results: of both passes.
    """
    block = max(1, BLOCK_ROWS // len(every))
    pictures = {number: _pictures(run, each, results, block) for number, each in seen.items()}
    for place, layer in enumerate(run.layers):
        sources = [each.source[place] for each in every]
        over_time = _over_time(run, [seen[source] for source in sources], layer)
        for start in range(0, layer.channels, block):
            stop = min(start + block, layer.channels)
            drawn = {source: next(pictures[source]) for source in sorted(set(sources))}
            parts = [
                _rows(every[number], drawn[source], over_time[number].part(start, stop), source)
                for number, source in enumerate(sources)
            ]
            yield pa.concat_tables(parts).sort_by([("channel", "ascending"), ("checkpoint", "ascending")])


def _pictures(
    run: Attempt[EvolutionRun],
    seen: Seen,
    results: Results,
    block: int,
) -> Iterator[pa.Table]:
    """The best unit of each channel of a checkpoint's new layers, projected."""
    top = top_rows(
        results.scanned, replace(seen.reduced, top=seen.best), seen.shards, run.layers, run.model.preprocessing
    )
    yield from patch_rows(results.projected, top, seen.groups, run.job.spec.project.method, block)


@dataclass(frozen=True, eq=False)
class _Course:
    """What is known of a layer's channels at one checkpoint, (channels,) each; see the columns of `evolution`."""

    mean: Array
    active_share: Array
    overlap: Array
    settled_since: Array

    def part(self, start: int, stop: int) -> "_Course":
        """The channels [start, stop)."""
        return _Course(**{name: values[start:stop] for name, values in vars(self).items()})


def _over_time(run: Attempt[EvolutionRun], by_checkpoint: Sequence[Seen], layer: Layer) -> list[_Course]:
    """The course of a layer's channels, by checkpoint."""
    tops = [each.reduced.top.take(each.reduced.top.layer_index == layer.index) for each in by_checkpoint]
    overlaps = evolution.overlaps(tops, layer.channels)
    settled = evolution.settled_since(overlaps, run.job.spec.evolve.settled_share)
    courses = []
    for number, each in enumerate(by_checkpoint):
        scores = each.reduced.statistics
        of_layer = scores.layer_index == layer.index
        images = scores.images[of_layer]
        courses.append(
            _Course(
                mean=scores.sum[of_layer] / images,
                active_share=scores.active[of_layer] / images,
                overlap=overlaps[number],
                settled_since=settled,
            )
        )
    return courses


def _rows(checkpoint: Checkpoint, drawn: pa.Table, course: _Course, source: int) -> pa.Table:
    """The rows of some channels at one checkpoint; `drawn` is the first one's that gives the same feature maps."""
    number = checkpoint.number
    columns: Mapping[str, Any] = {
        **{name: drawn[name] for name in drawn.column_names},
        "checkpoint": np.full(len(drawn), number, np.int32),
        "checkpoint_name": [checkpoint.name] * len(drawn),
        "same_as": [None if source == number else source] * len(drawn),
        "mean": course.mean,
        "active_share": course.active_share,
        "overlap": pa.array(course.overlap, from_pandas=True),  # NaN is null
        "settled_since": pa.array(course.settled_since.astype(np.int32), mask=course.settled_since < 0),
    }
    return pa.table(
        {field.name: _array(columns[field.name], field.type) for field in EVOLUTION.schema}, schema=EVOLUTION.schema
    )


def _array(values: Any, kind: pa.DataType) -> Any:  # noqa: ANN401 - arrays of pyarrow, numpy and lists
    return values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, kind)
