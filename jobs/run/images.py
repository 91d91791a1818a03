"""What jobs over single images share. Takes the results of each image in order, publishes their rows; checks named images."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from jobs.run.accounts import Accounts
from jobs.run.attempt import Attempt
from jobs.run.outcome import Outcome
from jobs.run.plan import Plan
from jobs.run.results import StoredResults
from workers.actors.environment import Environment
from workers.actors.shard import Shard
from workers.corpus import manifest
from workers.corpus.manifest import Listing
from workers.errors import ModelError, RunStopped, UnknownImageError
from workers.models.model import Model
from workers.store.columns import Table
from workers.store.rows import TableWriter, values
from workers.store.tables.shared import IMAGES, REJECTS

Done = tuple[Plan, int, float]
Write = Callable[[Attempt[Any], StoredResults, Accounts, Sequence[Shard], TableWriter], Mapping[str, int]]


def require_listed(image_ids: Sequence[str], corpus: str, listing: Listing) -> None:
    """Require that the corpus contains all these images.

    Raises:
        UnknownImageError: it does not contain one of them; the error names the first.
    """
    missing = listing.missing(image_ids)
    if missing:
        raise UnknownImageError(missing[0], corpus, listing.first_ids())


def require_classifier(model: Model) -> int:
    """Require a network with one score per class, and return the number of classes.

    Raises:
        ModelError: the network's output is a map.
    """
    classes, *extent = model.network.nodes[model.network.output].shape
    if extent != [1, 1]:
        raise ModelError(
            f"{model.stored.source} gives maps of {extent[0]} x {extent[1]}, not one score per class; use a classifier"
        )
    return classes


def publish_rows(
    run: Attempt[Any],
    stored: StoredResults,
    table: Table,
    done: Done,
    environment: Environment,
    write: Write | None = None,
) -> Outcome:
    """Account for every image, write the rows of the results to a table, and publish the run.

    Args:
        run: the attempt.
        stored: the results.
        table: the table.
        done: the plan, with the shards of each image in the order of the table's rows; the number of images that this
            attempt used; its seconds.
        environment: the software of all actors.
        write: accounts for every image once and writes the table, if its rows are not those of the results.
    """
    planned, scanned, seconds = done
    shards = sorted(planned.shards, key=lambda shard: shard.start)
    run.watch.phase("publish", None, "tables")
    images, rejects, writer = (run.writer(kind) for kind in (IMAGES, REJECTS, table))
    accounts = Accounts(stored, images, rejects)
    statuses = (write or _write_rows)(run, stored, accounts, shards, writer)
    parts = {"images": images.close(), "rejects": rejects.close(), table.name: writer.close()}
    counts = accounts.counts()
    rate = scanned * planned.images / len(shards) / seconds if scanned else None
    names = [shard.result for shard in shards]
    published = run.publish(parts, counts, environment, images_per_s=rate, shards=names)
    return run.outcome(published, planned, rate, statuses=dict(statuses))


def _write_rows(
    run: Attempt[Any], stored: StoredResults, accounts: Accounts, shards: Sequence[Shard], writer: TableWriter
) -> Mapping[str, int]:
    """Account for every image once and write the rows of its results; returns the number of rows by status, if they have one."""
    used, statuses = dict[int, int](), Counter[str]()
    for shard in shards:
        take: Callable[[Shard], pa.Table] = stored.read if shard.start in used else accounts.take
        result = take(shard)
        count = len(values(result, "images"))
        if used.setdefault(shard.start, count) != count:
            raise RunStopped(f"image {shard.start} is used in some results and rejected in others: {shard.result}")
        for rows in _rows(result, run, shard, writer.table):
            writer.write(rows)
            statuses.update(rows["status"].to_pylist() if "status" in rows.column_names else ())
    return statuses


def _rows(result: pa.Table, run: Attempt[Any], shard: Shard, table: Table) -> Iterator[pa.Table]:
    """The table rows of a result; none if the image was rejected."""
    [listed] = manifest.rows(run.root, shard.manifest, shard.start, shard.stop)
    rows = [
        {"image_id": listed.image_id, "uri": listed.uri, "label": listed.label, **row}
        for row in values(result, "found").to_pylist()
    ]
    for row in rows:
        row |= {name: {"bytes": row[name], "path": None} for name in table.images if row[name] is not None}
    if rows:
        yield pa.Table.from_pylist(rows, table.schema)
