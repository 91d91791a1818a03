"""The rows of `evolution`. Takes the findings of each checkpoint, gives its best patches and projections, layer by layer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from jobs import project
from jobs.evolve.checkpoints import Checkpoint
from jobs.reduce import Reduced, table_of, top_rows
from jobs.run.accounts import ScannedImage
from jobs.run.attempt import Attempt
from jobs.run.results import StoredResults
from workers.actors.shard import CheckpointGroup, Shard
from workers.core import evolution
from workers.core.network import Layer
from workers.core.topk import Rows, ranks
from workers.spec.evolve import EvolutionRun
from workers.store.tables.evolve import EVOLUTION

Array = np.ndarray[Any, Any]

BLOCK_ROWS = 4096  # rows that are in memory at once, with their pictures


@dataclass(frozen=True, eq=False)
class Findings:
    """The findings in one checkpoint's new layers.

    Attributes:
        shards: its shards.
        reduced: top rows and statistics of the shards.
        groups: projection groups of the best unit of each channel, once planned.
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
    """The stored results of both passes: of shards and of projection groups."""

    scanned: StoredResults
    projected: StoredResults


def evolution_rows(
    run: Attempt[EvolutionRun],
    every: Sequence[Checkpoint],
    findings: Mapping[int, Findings],
    projected: StoredResults,
    images: Mapping[int, ScannedImage],
) -> Iterator[pa.Table]:
    """The rows of `evolution`, sorted by layer, channel and checkpoint; one block of a layer's channels at a time.

    Args:
        run: the attempt.
        every: the checkpoints.
        findings: the findings of the checkpoints with new layers, by number.
        projected: the stored results of the second pass.
        images: the images of the best units, by image index.
    """
    block = max(1, BLOCK_ROWS // len(every))
    pictures = {number: _pictures(run, finding, projected, images, block) for number, finding in findings.items()}
    for position, layer in enumerate(run.layers):
        sources = [checkpoint.source[position] for checkpoint in every]
        courses = _courses(run, [findings[source] for source in sources], layer)
        for start in range(0, layer.channels, block):
            stop = min(start + block, layer.channels)
            shown = {source: next(pictures[source]) for source in sorted(set(sources))}
            parts = [
                _rows(every[number], shown[source], courses[number].part(start, stop), source)
                for number, source in enumerate(sources)
            ]
            yield pa.concat_tables(parts).sort_by([("channel", "ascending"), ("checkpoint", "ascending")])


def _pictures(
    run: Attempt[EvolutionRun],
    findings: Findings,
    projected: StoredResults,
    images: Mapping[int, ScannedImage],
    block: int,
) -> Iterator[pa.Table]:
    """The projected best unit of each channel in a checkpoint's new layers."""
    places = project.places(projected, findings.groups)
    top = top_rows(findings.best, places, images, run.layers, run.model.preprocessing)
    yield from project.patch_rows(projected, top, findings.groups, run.job.spec.project.method, block)


@dataclass(frozen=True, eq=False)
class _Course:
    """Measures of a layer's channels at one checkpoint, each of shape (channels,); see the columns of `evolution`."""

    mean: Array
    active_share: Array
    overlap: Array
    settled_since: Array

    def part(self, start: int, stop: int) -> "_Course":
        """The channels [start, stop)."""
        return _Course(**{name: values[start:stop] for name, values in vars(self).items()})


def _courses(run: Attempt[EvolutionRun], by_checkpoint: Sequence[Findings], layer: Layer) -> list[_Course]:
    """The measures of a layer's channels, by checkpoint."""
    rows = [findings.reduced.top for findings in by_checkpoint]
    tops = [top.take(top.layer_index == layer.index) for top in rows]
    overlaps = evolution.overlaps(tops, layer.channels)
    settled = evolution.settled_since(overlaps, run.job.spec.evolve.settled_share)
    courses = []
    for number, findings in enumerate(by_checkpoint):
        scores = findings.reduced.statistics
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


def _rows(checkpoint: Checkpoint, projected: pa.Table, course: _Course, source: int) -> pa.Table:
    """The rows of some channels at one checkpoint; `projected` is from the first checkpoint with the same feature maps."""
    number = checkpoint.number
    columns: Mapping[str, Any] = {
        **{name: projected[name] for name in projected.column_names},
        "checkpoint": np.full(len(projected), number, np.int32),
        "checkpoint_name": [checkpoint.name] * len(projected),
        "same_as": [None if source == number else source] * len(projected),
        "mean": course.mean,
        "active_share": course.active_share,
        "overlap": pa.array(course.overlap, from_pandas=True),  # NaN is null
        "settled_since": pa.array(course.settled_since.astype(np.int32), mask=course.settled_since < 0),
    }
    return table_of(columns, EVOLUTION.schema)
