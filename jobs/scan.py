"""The pipeline of `scan`. Takes a spec, publishes the run, gives its outcome."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from jobs import precision, project
from jobs.reduce import Reduced, reduce, top_rows, unit_rows
from jobs.run import engine_choice, narrowing, plan
from jobs.run.accounts import ScannedImage, account
from jobs.run.attempt import Attempt, attempt
from jobs.run.estimate import Tables
from jobs.run.listing import require_groups
from jobs.run.outcome import Outcome
from jobs.run.plan import Plan
from jobs.watch import Watcher
from workers.actors.environment import Environment
from workers.actors.job import digest
from workers.actors.project import ProjectWorker, project_configuration
from workers.actors.scan import ScanWorker, scan_configuration
from workers.actors.shard import Group
from workers.corpus import manifest
from workers.corpus.manifest import Listing
from workers.models.model import Model
from workers.spec.scan import RunSpec
from workers.store.tables.scan import PATCHES, PREVIEWS, TOP, UNITS

AT_ONCE = 4  # most shards in an item of work
ITEMS = 4  # least items for each actor


def scan(spec: RunSpec, watch: Watcher) -> Outcome:
    """Scan a corpus, or resume where an earlier attempt stopped.

    Raises:
        UsageError: the spec is not valid; nothing was written.
        RunStopped: the run cannot continue; finished results are kept.
    """
    check_layers = partial(project.require_projections, method=spec.project.projection)
    return attempt(spec, watch, spec.scan.layers, _work, partial(_warn, spec, watch), check_layers)


def _warn(spec: RunSpec, watch: Watcher, model: Model, listing: Listing) -> None:
    """Require what the spec needs of the corpus, and report tables that would be large, before anything is written."""
    require_groups(spec, listing)
    _, height, width = model.network.nodes[0].shape
    tables = Tables(model.network.select(spec.scan.layers), spec, listing.images, (height, width))
    if tables.warning:
        watch.say(tables.warning)


def _work(run: Attempt[RunSpec]) -> Outcome:
    """Scan, reduce, project, publish."""
    cost = precision.measure(run)
    environment = _start(run)
    planned = _plan(run, environment)
    planned, scanned, seconds = run.run_shards("scan", plan.grouped(planned, _at_once(run, planned)))
    reduced = reduce(run, run.results(ScanWorker), planned.shards, run.job.spec.scan.k)
    classes = run.model.stored.class_names if run.job.spec.scan.predictions else ()
    accounted = account(run, run.results(ScanWorker), planned.shards, np.unique(reduced.top.image_index), classes)
    tolerances = cost.tolerances(project.scales(reduced.top)) if cost else {}
    groups, projected = _project(run, environment, planned, reduced, accounted.hashes, tolerances)
    run.watch.phase("publish", None, "tables")
    parts = {**_write(run, reduced, groups, accounted.known), **accounted.parts}
    rate = scanned / seconds if scanned else None
    names = {"shards": [shard.result for shard in planned.shards], "groups": [group.result for group in groups]}
    more = {"precision": cost.facts(run.layers, tolerances)} if cost else {}
    names["merges"] = [*reduced.merges, *accounted.results]
    published = run.publish(parts, accounted.counts, environment, images_per_s=rate, **names, **more)
    return run.outcome(published, planned, rate, groups_run=projected, groups_reused=len(groups) - projected)


def _plan(run: Attempt[RunSpec], environment: Environment) -> Plan:
    """The shards. Missing results that a scan of more layers has are made from these first."""
    configuration = digest(scan_configuration(run.job, environment))
    planned = plan.plan(run.root, run.job.manifest, configuration, run.job.spec.shard_size)
    narrowing.note(run.root, run.job, environment)
    if narrowing.narrow(run, planned, environment):
        planned = plan.plan(run.root, run.job.manifest, configuration, run.job.spec.shard_size)
    return planned


def _at_once(run: Attempt[RunSpec], planned: Plan) -> int:
    """The number of shards in an item of work: one on a CPU, more on a GPU if there are enough for all actors."""
    if run.job.spec.resources.device == "cpu":
        return 1
    return max(1, min(AT_ONCE, len(planned.todo) // (run.pool.actors * ITEMS)))


def _start(run: Attempt[RunSpec]) -> Environment:
    """Choose an engine, and build a worker in every actor."""
    rows = manifest.count(run.root, run.job.manifest)
    chosen = engine_choice.choose(run.job.spec, run.model.network, run.layers, rows)
    run.job = replace(run.job, spec=run.job.spec.with_engine(chosen))
    environment = run.start(partial(ScanWorker, run.job))
    run.watch.say(f"engine: {environment.engine}")
    return environment


def _project(
    run: Attempt[RunSpec],
    environment: Environment,
    planned: Plan,
    reduced: Reduced,
    hashes: Mapping[int, str],
    tolerances: Mapping[int, float],
) -> tuple[list[Group], int]:
    """Run the groups whose results are missing; returns all groups, and how many ran."""
    configuration = digest(project_configuration(run.job, environment))
    groups = project.groups(reduced.top, planned.shards, configuration, hashes, tolerances)
    return groups, project.run_groups(run, groups, partial(ProjectWorker, run.job))


def _write(
    run: Attempt[RunSpec], reduced: Reduced, groups: list[Group], images: Mapping[int, ScannedImage]
) -> dict[str, Any]:
    spec = run.job.spec.project
    projected = run.results(ProjectWorker)
    places = project.places(projected, groups)
    top = top_rows(reduced.top, places, images, run.layers, run.model.preprocessing)
    tables = {
        UNITS: iter([unit_rows(reduced.statistics, run.layers)]),
        TOP: iter([top]),
        PATCHES: project.patch_rows(projected, top, groups, spec.method),
        PREVIEWS: project.preview_rows(projected, top, groups) if spec.previews else iter(()),
    }
    parts = {}
    for table, rows in tables.items():
        with run.writer(table) as writer:
            for part in rows:
                writer.write(part)
            parts[table.name] = writer.close()
    return parts
