"""Corresponding parts, from a spec to a published run: the order of things. Takes a spec, gives an outcome."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import pyarrow as pa

from jobs.run import plan
from jobs.run.accounts import Accounts, values
from jobs.run.attempt import Attempt, attempt
from jobs.run.images import check_known, publish_found
from jobs.run.outcome import Outcome
from jobs.run.results import Stored
from jobs.watch import Watcher
from workers.actors.correspondence import CorrespondenceWorker
from workers.actors.job import correspondence_configuration, digest
from workers.actors.shard import Shard
from workers.core.correspondence import NOTHING, Agreement, Kind, Signs, agreement, over_draws, papers_layers
from workers.core.network import Layer, Network
from workers.corpus import manifest
from workers.corpus.manifest import Listing, Row
from workers.models.model import Model
from workers.pictures import encode
from workers.spec.correspondence import CorrespondenceRun
from workers.store.rows import TableWriter
from workers.store.tables.correspondence import CORRESPONDENCE

PICTURES, PICTURE_PX = 8, 112

Rows = Sequence[Mapping[str, Any]]
Found = Mapping[tuple[str, str, int], Rows]  # of the results, by part, kind and draw


def correspondence(spec: CorrespondenceRun, watch: Watcher) -> Outcome:
    """Hide parts of some images of a corpus, or go on where an earlier attempt stopped.

    Raises:
        UsageError: something is wrong with the spec; nothing was written.
        RunStopped: the run cannot go on; what is finished stays.
    """
    return attempt(spec, watch, partial(_layers, spec), _work, partial(_check, spec))


def _layers(spec: CorrespondenceRun, network: Network) -> Sequence[str]:
    return spec.correspondence.layers or papers_layers(network)


def _work(run: Attempt[CorrespondenceRun]) -> Outcome:
    environment = run.pool.start(partial(CorrespondenceWorker, run.job))

    def configuration(row: Row) -> str:
        return digest(correspondence_configuration(run.job, environment, row.image_id))

    wanted = run.job.spec.correspondence.image_ids
    planned = plan.singles(run.root, run.job.manifest, configuration, wanted, 0)
    done = run.shards("correspondence", planned)
    return publish_found(run, run.stored(CorrespondenceWorker), CORRESPONDENCE, done, environment, _write_agreement)


def _check(spec: CorrespondenceRun, model: Model, listing: Listing) -> None:  # noqa: ARG001 - any network will do
    """What the spec alone does not show."""
    check_known(spec.correspondence.image_ids, spec.corpus.source, listing)


def _write_agreement(
    run: Attempt[Any], stored: Stored, accounts: Accounts, shards: Sequence[Shard], writer: TableWriter
) -> Mapping[str, int]:
    """Account for every image, and write how much alike their changes are, layer by layer; one layer is held at a time."""
    left_out = _left_out(run, accounts, shards)
    for place, layer in enumerate(run.layers):
        found = _of_layer(stored, shards, layer)
        rows = [
            {"layer": layer.name, "layer_index": layer.index, **row}
            for part in sorted({box.part for box in run.job.spec.correspondence.parts})
            for row in _rows(run, found, part, left_out.get(part, ()), shown=place == 0)
        ]
        writer.write(pa.Table.from_pylist(rows, CORRESPONDENCE.schema))
    return {}


def _left_out(run: Attempt[Any], accounts: Accounts, shards: Sequence[Shard]) -> Mapping[str, Sequence[str]]:
    """Of each part, images and why it could not be hidden in them; they are told too."""
    why: dict[str, list[str]] = {}
    for shard in shards:
        result = accounts.take(shard)
        [row] = manifest.rows(run.root, shard.manifest, shard.start, shard.stop)
        told = [(each["part"], each["reason"]) for each in values(result, "found").to_pylist() if each["reason"]]
        for reject in values(result, "rejects").to_pylist():
            told += [(box.part, reject["reason"]) for box in run.job.spec.correspondence.boxes_of(row.image_id)]
        for part, reason in told:
            why.setdefault(part, []).append(f"{row.image_id}: {reason}")
            run.watch.say(f"{part} of {row.image_id} is left out: {reason}")
    return why


def _of_layer(stored: Stored, shards: Sequence[Shard], layer: Layer) -> Found:
    """The results of a layer, those of each part, kind and draw in the order of the images."""
    found: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    for shard in shards:
        for row in values(stored.read(shard, ["found"]), "found").to_pylist():
            if row["layer_index"] == layer.index:
                found.setdefault((row["part"], row["kind"], row["draw"]), []).append(row)
    return found


def _rows(
    run: Attempt[CorrespondenceRun], found: Found, part: str, left_out: Sequence[str], *, shown: bool
) -> Iterator[dict[str, Any]]:
    """The rows of a part: the boxes as given, and those at random places."""
    spec = run.job.spec.correspondence
    common = {"part": part, "left_out": len(left_out), "why_left_out": "; ".join(left_out) or None}
    common |= {"fill": str(spec.fill), "seed": spec.seed}
    for kind in sorted(Kind):
        drawn = [rows for (name, which, _), rows in sorted(found.items()) if (name, which) == (part, kind)]
        if not drawn and kind is not Kind.PART:
            continue
        each = [_agreement(rows) for rows in drawn]
        told = over_draws(each) if kind is not Kind.PART else each[0] if each else NOTHING
        yield {
            **common,
            "kind": str(kind),
            "units": drawn[0][0]["units"] if drawn else None,
            "draws": len(drawn),
            **asdict(told),
            "picture": _strip(drawn[0]) if shown and drawn else None,
        }


def _agreement(rows: Rows) -> Agreement:
    return agreement([Signs.unpacked(row["positive"], row["negative"], row["units"]) for row in rows])


def _strip(rows: Rows) -> dict[str, Any]:
    """The first images with the box hidden, side by side."""
    kept = [row["picture"] for row in rows[:PICTURES]]
    return {"bytes": encode.strip(kept, PICTURE_PX), "path": None}
