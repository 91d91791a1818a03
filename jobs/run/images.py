"""Jobs that look at some images one by one. Takes their results in order, publishes what was found; checks named images."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from jobs.run.accounts import Accounts, values
from jobs.run.attempt import Attempt
from jobs.run.outcome import Outcome
from jobs.run.plan import Plan
from jobs.run.results import Stored
from workers.actors.job import Environment
from workers.actors.shard import Shard
from workers.corpus import manifest
from workers.corpus.manifest import Listing
from workers.errors import ModelError, RunStopped, UnknownImageError
from workers.models.model import Model
from workers.store.columns import Table
from workers.store.rows import TableWriter
from workers.store.tables.shared import IMAGES, REJECTS

Done = tuple[Plan, int, float]
Write = Callable[[Attempt[Any], Stored, Accounts, Sequence[Shard], TableWriter], Mapping[str, int]]


def check_known(image_ids: Sequence[str], corpus: str, listing: Listing) -> None:
    """Let only images be named that the corpus holds.

    Raises:
        UnknownImageError: the first that it does not hold.
    """
    missing = listing.missing(image_ids)
    if missing:
        raise UnknownImageError(missing[0], corpus, listing.some_ids())


def check_classifies(model: Model) -> int:
    """Let only networks pass that give one score for each class; gives how many classes there are.

    Raises:
        ModelError: this one gives maps.
    """
    classes, *extent = model.network.nodes[-1].shape
    if extent != [1, 1]:
        told = f"{model.stored.source} gives maps of {extent[0]} x {extent[1]}"
        raise ModelError(f"{told} and no score for each class")
    return classes


def publish_found(
    run: Attempt[Any], stored: Stored, table: Table, done: Done, environment: Environment, write: Write | None = None
) -> Outcome:
    """Write every image's account and what was found in it, and publish the run.

    Args:
        run: the attempt.
        stored: the results.
        table: of what was found.
        done: the shards, those of each image in the order of the table's rows; how many this attempt used; its seconds.
        environment: the software that all actors had.
        write: accounts for every image once and writes the table, where its rows are not those of the results.
    """
    planned, scanned, seconds = done
    shards = sorted(planned.shards, key=lambda shard: shard.start)
    run.watch.phase("publish", None, "tables")
    images, rejects, writer = (run.writer(each) for each in (IMAGES, REJECTS, table))
    accounts = Accounts(stored, images, rejects)
    statuses = (write or _write_found)(run, stored, accounts, shards, writer)
    parts = {"images": images.close(), "rejects": rejects.close(), table.name: writer.close()}
    counted = accounts.counted()
    rate = scanned * planned.images / len(shards) / seconds if scanned else None
    names = [shard.result for shard in shards]
    told = run.publish(parts, counted, environment, images_per_s=rate, shards=names)
    return run.ended(told, planned, rate, statuses=dict(statuses))


def _write_found(
    run: Attempt[Any], stored: Stored, accounts: Accounts, shards: Sequence[Shard], writer: TableWriter
) -> Mapping[str, int]:
    """Account for every image once and write what was found in it; gives how many rows have each status, if they do."""
    used, statuses = dict[int, int](), Counter[str]()
    for shard in shards:
        take: Callable[[Shard], pa.Table] = stored.read if shard.start in used else accounts.take
        result = take(shard)
        count = len(values(result, "images"))
        if used.setdefault(shard.start, count) != count:
            raise RunStopped(f"image {shard.start} was used for some results and rejected for others: {shard.result}")
        for rows in _found(result, run, shard, writer.table):
            writer.write(rows)
            statuses.update(rows["status"].to_pylist() if "status" in rows.column_names else ())
    return statuses


def _found(result: pa.Table, run: Attempt[Any], shard: Shard, table: Table) -> Iterator[pa.Table]:
    """The rows of a result; none if the image was rejected."""
    [listed] = manifest.rows(run.root, shard.manifest, shard.start, shard.stop)
    found = [
        {"image_id": listed.image_id, "uri": listed.uri, "label": listed.label, **each}
        for each in values(result, "found").to_pylist()
    ]
    for row in found:
        row |= {name: {"bytes": row[name], "path": None} for name in table.images if row[name] is not None}
    if found:
        yield pa.Table.from_pylist(found, table.schema)
