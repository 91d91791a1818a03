"""Work on channels, without a corpus. Takes a layer's channels, gives batches of them; runs batches, publishes their run."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobs.run.attempt import Attempt, Parts
from jobs.run.outcome import Outcome, outcome_of
from jobs.run.tally import ImageCounts
from workers.actors.environment import Environment
from workers.actors.job import digest
from workers.actors.shard import ChannelBatch
from workers.core.network import Layer
from workers.store import paths


def cut(layer: Layer, channels: Sequence[int], size: int, configuration: str, **about: Any) -> Iterator[ChannelBatch]:  # noqa: ANN401
    """Cut channels of a layer into batches, and name their results by hash.

    Args:
        layer: the layer.
        channels: the channels, ascending.
        size: number of channels in a batch.
        configuration: hash of everything that all results of the run depend on.
        about: further values that a result depends on.
    """
    for start in range(0, len(channels), size):
        part = tuple(channels[start : start + size])
        key = digest({"layer": layer.name, "channels": part, **about})
        yield ChannelBatch(layer.name, part, paths.shard_path(configuration, key))


def run_batches(run: Attempt[Any], phase: str, every: Sequence[ChannelBatch], missing: Sequence[ChannelBatch]) -> None:
    """Run the missing batches in their order, and report the number of channels that are done."""
    run.begin(phase, sum(len(batch.channels) for batch in missing), "channels", every)
    done = 0

    def progress(in_progress: int) -> None:
        run.watch.advance(done + in_progress)

    for report in run.pool.run(missing, progress, run.replan):
        done += report.rows
        progress(0)


def publish(
    run: Attempt[Any],
    parts: Parts,
    environment: Environment,
    batches: Sequence[ChannelBatch],
    facts: Mapping[str, Any],
    **counts: Any,  # noqa: ANN401 - Outcome's fields
) -> Outcome:
    """Publish a run over channels, and give its outcome.

    Args:
        run: the attempt.
        parts: its tables.
        environment: the software of all actors.
        batches: all its batches.
        facts: further facts of its manifest.
        counts: further fields of the outcome.
    """
    names = [batch.result for batch in batches]
    published = run.publish(parts, ImageCounts(0, {}), environment, images_per_s=None, shards=names, **facts)
    return outcome_of(published, run.job.spec.root, run.started, **counts)


def counts(batches: Sequence[ChannelBatch], missing: Sequence[ChannelBatch]) -> dict[str, int]:
    """The numbers of batches that an attempt ran and reused, as fields of Outcome."""
    return {"shards_run": len(missing), "shards_reused": len(batches) - len(missing)}
