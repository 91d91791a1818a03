"""Jobs that look at some images one by one. Takes their results in order, publishes what was found; checks named images."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from jobs.accounts import Accounts, values
from jobs.attempt import Attempt, Outcome, exit_code
from jobs.plan import Plan
from jobs.results import Stored
from workers.corpus import manifest
from workers.corpus.manifest import Listing
from workers.errors import UnknownImageError
from workers.job import Environment
from workers.shard import Shard
from workers.store.columns import Table
from workers.store.schema import IMAGES, REJECTS

Done = tuple[Plan, int, float]


def check_known(image_ids: Sequence[str], corpus: str, listing: Listing) -> None:
    """Let only images be named that the corpus holds.

    Raises:
        UnknownImageError: the first that it does not hold.
    """
    missing = listing.missing(image_ids)
    if missing:
        raise UnknownImageError(missing[0], corpus, listing.some_ids())


def publish_found(run: Attempt[Any], stored: Stored, table: Table, done: Done, environment: Environment) -> Outcome:
    """Write every image's account and what was found in it, and publish the run.

    Args:
        run: the attempt.
        stored: the results.
        table: of what was found.
        done: the shards, those of each image in the order of the table's rows; how many this attempt used; its seconds.
        environment: the software that all actors had.
    """
    planned, scanned, seconds = done
    shards = sorted(planned.shards, key=lambda shard: shard.start)
    run.watch.phase("publish", None, "tables")
    images, rejects, writer = (run.writer(each) for each in (IMAGES, REJECTS, table))
    accounts, seen = Accounts(stored, images, rejects), set[int]()
    for shard in shards:
        take: Callable[[Shard], pa.Table] = stored.read if shard.start in seen else accounts.take
        seen.add(shard.start)
        for rows in _found(take(shard), run, shard, table):
            writer.write(rows)
    parts = {"images": images.close(), "rejects": rejects.close(), table.name: writer.close()}
    counted = accounts.counted()
    rate = scanned * planned.images / len(shards) / seconds if scanned else None
    names = [shard.result for shard in shards]
    told = run.publish(parts, counted, environment, images_per_s=rate, shards=names)
    return Outcome(
        run=run.run,
        root=run.job.spec.root,
        images=counted.images,
        rejects=sum(counted.rejects.values()),
        exit_code=exit_code(told),
        already_published=False,
        seconds=time.monotonic() - run.started,
        images_per_s=rate,
        shards_run=planned.running,
        shards_reused=len(shards) - planned.running,
        table_bytes={name: sum(part.bytes for part in files) for name, files in parts.items()},
    )


def _found(result: pa.Table, run: Attempt[Any], shard: Shard, table: Table) -> Iterator[pa.Table]:
    """The rows of a result; none if the image was rejected."""
    [listed] = manifest.rows(run.root, shard.manifest, shard.start, shard.stop)
    for found in values(result, "found").to_pylist():
        row: dict[str, Any] = {"image_id": listed.image_id, "uri": listed.uri, "label": listed.label, **found}
        row |= {name: {"bytes": row[name], "path": None} for name in table.images if row[name] is not None}
        yield pa.Table.from_pylist([row], table.schema)
