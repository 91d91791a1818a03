"""The pipeline of `correspondence`. Takes a spec, publishes the run, gives its outcome."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import pyarrow as pa

from jobs.run import plan
from jobs.run.accounts import Accounts
from jobs.run.attempt import Attempt, attempt
from jobs.run.images import publish_rows, require_listed
from jobs.run.outcome import Outcome
from jobs.run.results import StoredResults
from jobs.watch import Watcher
from workers.actors.correspondence import CorrespondenceWorker, correspondence_configuration
from workers.actors.job import digest
from workers.actors.shard import Shard
from workers.core.correspondence import NOTHING, Agreement, Placement, Signs, agreement, average, default_layers
from workers.core.network import Layer, Network
from workers.corpus import manifest
from workers.corpus.manifest import Listing, Row
from workers.models.model import Model
from workers.pictures import encode
from workers.spec.correspondence import CorrespondenceRun
from workers.store.rows import TableWriter, values
from workers.store.tables.correspondence import CORRESPONDENCE

PICTURES, PICTURE_PX = 8, 112

Rows = Sequence[Mapping[str, Any]]
RowsByDraw = Mapping[tuple[str, str, int], Rows]  # rows of results, by part, kind and draw


def correspondence(spec: CorrespondenceRun, watch: Watcher) -> Outcome:
    """Hide parts of some images of a corpus and compare the effects, or resume where an earlier attempt stopped.

    Raises:
        UsageError: the spec is not valid; nothing was written.
        RunStopped: the run cannot continue; finished results are kept.
    """
    return attempt(spec, watch, partial(_layers, spec), _work, partial(_check, spec))


def _layers(spec: CorrespondenceRun, network: Network) -> Sequence[str]:
    return spec.correspondence.layers or default_layers(network)


def _work(run: Attempt[CorrespondenceRun]) -> Outcome:
    environment = run.start(partial(CorrespondenceWorker, run.job))

    def configuration(row: Row) -> str:
        return digest(correspondence_configuration(run.job, environment, row.image_id))

    wanted = run.job.spec.correspondence.image_ids
    planned = plan.plan_images(run.root, run.job.manifest, configuration, wanted, 0)
    done = run.run_shards("correspondence", planned)
    return publish_rows(run, run.results(CorrespondenceWorker), CORRESPONDENCE, done, environment, _write_agreement)


def _check(spec: CorrespondenceRun, model: Model, listing: Listing) -> None:  # noqa: ARG001 - any network is valid
    """Check the spec against the model and the listing."""
    require_listed(spec.correspondence.image_ids, spec.corpus.source, listing)


def _write_agreement(
    run: Attempt[Any], stored: StoredResults, accounts: Accounts, shards: Sequence[Shard], writer: TableWriter
) -> Mapping[str, int]:
    """Account for every image, and write how well the changes of the images agree, one layer at a time."""
    left_out = _left_out(run, accounts, shards)
    for position, layer in enumerate(run.layers):
        results = _read_layer(stored, shards, layer)
        rows = [
            {"layer": layer.name, "layer_index": layer.index, **row}
            for part in sorted({box.part for box in run.job.spec.correspondence.parts})
            for row in _rows(run, results, part, left_out.get(part, ()), with_picture=position == 0)
        ]
        writer.write(pa.Table.from_pylist(rows, CORRESPONDENCE.schema))
    return {}


def _left_out(run: Attempt[Any], accounts: Accounts, shards: Sequence[Shard]) -> Mapping[str, Sequence[str]]:
    """The images in which a part could not be hidden, with the reason, by part; each is also reported."""
    left_out: dict[str, list[str]] = {}
    for shard in shards:
        result = accounts.take(shard)
        [row] = manifest.rows(run.root, shard.manifest, shard.start, shard.stop)
        reasons = [(found["part"], found["reason"]) for found in values(result, "found").to_pylist() if found["reason"]]
        for reject in values(result, "rejects").to_pylist():
            reasons += [(box.part, reject["reason"]) for box in run.job.spec.correspondence.boxes_of(row.image_id)]
        for part, reason in reasons:
            left_out.setdefault(part, []).append(f"{row.image_id}: {reason}")
            run.watch.say(f"{part} of {row.image_id} is left out: {reason}")
    return left_out


def _read_layer(stored: StoredResults, shards: Sequence[Shard], layer: Layer) -> RowsByDraw:
    """The results of a layer by part, kind and draw, each in the order of the images."""
    results: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    for shard in shards:
        for row in values(stored.read(shard, ["found"]), "found").to_pylist():
            if row["layer_index"] == layer.index:
                results.setdefault((row["part"], row["kind"], row["draw"]), []).append(row)
    return results


def _rows(
    run: Attempt[CorrespondenceRun], results: RowsByDraw, part: str, left_out: Sequence[str], *, with_picture: bool
) -> Iterator[dict[str, Any]]:
    """The rows of a part: for its boxes, and for boxes at random places."""
    spec = run.job.spec.correspondence
    common = {"part": part, "left_out": len(left_out), "why_left_out": "; ".join(left_out) or None}
    common |= {"fill": str(spec.fill), "seed": spec.seed}
    for kind in sorted(Placement):
        draws = [rows for (name, which, _), rows in sorted(results.items()) if (name, which) == (part, kind)]
        if not draws and kind is not Placement.PART:
            continue
        agreements = [_agreement(rows) for rows in draws]
        first = agreements[0] if agreements else NOTHING
        yield {
            **common,
            "kind": str(kind),
            "units": draws[0][0]["units"] if draws else None,
            "draws": len(draws),
            **asdict(first if kind is Placement.PART else average(agreements)),
            "picture": _strip(draws[0]) if with_picture and draws else None,
        }


def _agreement(rows: Rows) -> Agreement:
    return agreement([Signs.from_bytes(row["positive"], row["negative"], row["units"]) for row in rows])


def _strip(rows: Rows) -> dict[str, Any]:
    """The first images with the box hidden, side by side."""
    pictures = [row["picture"] for row in rows[:PICTURES]]
    return {"bytes": encode.strip(pictures, PICTURE_PX), "path": None}
