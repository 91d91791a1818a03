"""The pipeline of `evolve`, features over a training. Takes a spec, publishes the run, gives its outcome."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from jobs import project
from jobs.evolve import checkpoints
from jobs.evolve.checkpoints import Checkpoint
from jobs.evolve.rows import Findings, Results, evolution_rows
from jobs.reduce import reduce
from jobs.run import identity, plan, publish
from jobs.run.accounts import account
from jobs.run.attempt import Attempt, attempt
from jobs.run.listing import require_groups
from jobs.run.outcome import Outcome
from jobs.run.plan import Plan
from jobs.run.results import StoredResults
from jobs.watch import Watcher
from workers.actors.environment import Environment
from workers.actors.evolve import EvolveWorker, ProjectCheckpoints
from workers.actors.job import Job, digest
from workers.actors.project import project_configuration
from workers.actors.scan import scan_configuration
from workers.actors.shard import CheckpointBatch, CheckpointGroup, CheckpointShard, Shard
from workers.corpus.manifest import Listing
from workers.models.model import Model
from workers.spec.evolve import EvolutionRun, checkpoint_name
from workers.spec.families import weights_file
from workers.store import paths
from workers.store.facts import CheckpointFacts, DivergedFacts
from workers.store.root import patient
from workers.store.tables.evolve import EVOLUTION

HELD_BYTES = 1 << 30  # memory for the checkpoints that one actor holds at once
SCORE_BYTES = 4

Jobs = tuple[Job[EvolutionRun], ...]


def evolve(spec: EvolutionRun, watch: Watcher) -> Outcome:
    """Scan every checkpoint of a training, or resume where an earlier attempt stopped.

    Raises:
        UsageError: the spec is not valid; nothing was written.
        RunStopped: the run cannot continue; finished results are kept.
    """
    resolved, loaded = checkpoints.use_last_finite(checkpoints.resolve(spec)), list[Checkpoint]()

    def check(last: Model, listing: Listing) -> None:
        require_groups(resolved, listing)
        loaded.extend(checkpoints.load(resolved, last, watch.say))
        _check_published(resolved, loaded)

    check_layers = partial(project.require_projections, method=spec.project.projection)
    return attempt(resolved, watch, spec.scan.layers, lambda run: _work(run, loaded), check, check_layers)


def _check_published(spec: EvolutionRun, every: Sequence[Checkpoint]) -> None:
    """Refuse a published run whose files have changed. A run with other file names has another identity anyway."""
    published = publish.read_manifest(patient(spec.root), spec.run) if spec.run else None
    evolve = published.sections.evolve if published else None
    if published and evolve and evolve.checkpoints == spec.evolve.checkpoints:
        before = {checkpoint.source: checkpoint.fingerprint for checkpoint in published.checkpoints}
        now = {checkpoint.stored.source: checkpoint.stored.fingerprint for checkpoint in every}
        for source in sorted(before.keys() | now.keys()):  # a file that is missing on one side diverged there
            identity.check_weights(str(spec.run), source, before.get(source, "diverged"), now.get(source, "diverged"))


def _work(run: Attempt[EvolutionRun], every: Sequence[Checkpoint]) -> Outcome:
    """Scan, reduce, project, publish."""
    if not run.watch.is_dry:
        checkpoints.store(run.job.spec, every, run.model, run.root)
    jobs = tuple(_scan_job(run, checkpoint) for checkpoint in every)
    environment = run.start(partial(EvolveWorker, jobs))
    planned, scanned, seconds = run.run_shards("scan", _plan(run, every, jobs, environment), "images by checkpoint")
    results = Results(_scanned(run, jobs, planned), run.results(partial(_make_projector, jobs)))
    findings = _reduce(run, every, planned, results.scanned)
    best = np.concatenate([finding.best.image_index for finding in findings.values()])
    # The shards of the other checkpoints have the same images.
    accounted = account(run, results.scanned, findings[0].shards, np.unique(best))
    projected = _project(run, findings, jobs, environment, accounted.hashes)
    groups = [group for finding in findings.values() for group in finding.groups]
    run.watch.phase("publish", None, "tables")
    with run.writer(EVOLUTION) as writer:
        for rows in evolution_rows(run, every, findings, results.projected, accounted.known):
            writer.write(rows)
        parts = {EVOLUTION.name: writer.close(), **accounted.parts}
    rate = scanned / seconds if scanned else None
    names = {"shards": [shard.result for shard in planned.shards], "groups": [group.result for group in groups]}
    about = _checkpoint_facts(run.job.spec, every)
    merges = [result for finding in findings.values() for result in finding.reduced.merges]
    names["merges"] = [*merges, *accounted.results]
    published = run.publish(parts, accounted.counts, environment, images_per_s=rate, **names, **about)
    return run.outcome(published, planned, rate, groups_run=projected, groups_reused=len(groups) - projected)


def _scan_job(run: Attempt[EvolutionRun], checkpoint: Checkpoint) -> Job[EvolutionRun]:
    """The scan of a checkpoint's new layers."""
    spec = run.job.spec
    plain = spec.model_copy(update={"project": spec.project.model_copy(update={"previews": False})})
    new = tuple(layer.name for layer in checkpoint.new_layers(run.layers))
    return replace(run.job, spec=plain, model=checkpoint.stored, layers=new)


def _plan(run: Attempt[EvolutionRun], every: Sequence[Checkpoint], jobs: Jobs, environment: Environment) -> Plan:
    """One batch per range of images, with all checkpoints that have new layers; `todo` has the missing results."""
    numbers = [checkpoint.number for checkpoint in every if jobs[checkpoint.number].layers]
    names = {number: digest(scan_configuration(jobs[number], environment)) for number in numbers}
    done = {number: run.root.files(paths.shard_folder(name)) for number, name in names.items()}
    base = plan.plan(run.root, run.job.manifest, names[0], run.job.spec.shard_size)
    works = [
        CheckpointBatch(tuple(_checkpoint_shard(shard, number, name) for number, name in names.items()))
        for shard in base.shards
    ]
    todo = []
    for held in _split_by_memory({number: _memory_bytes(run, every[number]) for number in names}):
        for work in works:
            shards = [shard for shard in work.shards if shard.checkpoint in held]
            missing = [shard for shard in shards if paths.result_name(shard.result) not in done[shard.checkpoint]]
            if missing:
                todo.append(CheckpointBatch(tuple(missing)))
    return Plan(tuple(works), tuple(todo), base.images, base.removed)


def _memory_bytes(run: Attempt[EvolutionRun], checkpoint: Checkpoint) -> int:
    """Memory that a checkpoint takes in an actor: its weights, and the scores of a shard's images."""
    channels = sum(layer.channels for layer in checkpoint.new_layers(run.layers))
    return checkpoint.weight_bytes + SCORE_BYTES * channels * run.job.spec.shard_size


def _split_by_memory(held_bytes: Mapping[int, int]) -> list[set[int]]:
    """The checkpoints in order, split into sets that fit into an actor's memory."""
    parts: list[set[int]] = []
    held = HELD_BYTES
    for number, needed in held_bytes.items():
        held += needed
        if held > HELD_BYTES:
            parts.append(set())
            held = needed
        parts[-1].add(number)
    return parts


def _checkpoint_shard(shard: Shard, checkpoint: int, configuration: str) -> CheckpointShard:
    """The shard of the same images for a checkpoint."""
    result = f"{paths.shard_folder(configuration)}/{paths.result_name(shard.result)}"
    return CheckpointShard(shard.start, shard.stop, shard.manifest, result, checkpoint)


def _scanned(run: Attempt[EvolutionRun], jobs: Jobs, planned: Plan) -> StoredResults:
    return run.results(partial(_make_scanner, jobs), [CheckpointBatch((shard,)) for shard in _shards(planned)])


def _make_scanner(jobs: Jobs, _: Job[EvolutionRun]) -> EvolveWorker:
    return EvolveWorker(jobs)


def _make_projector(jobs: Jobs, _: Job[EvolutionRun]) -> ProjectCheckpoints:
    return ProjectCheckpoints(jobs)


def _shards(planned: Plan) -> list[CheckpointShard]:
    return [shard for shard in planned.shards if isinstance(shard, CheckpointShard)]


def _reduce(
    run: Attempt[EvolutionRun], every: Sequence[Checkpoint], planned: Plan, scanned: StoredResults
) -> dict[int, Findings]:
    """The findings in each checkpoint's new layers, by its number."""
    findings = {}
    for checkpoint in every:
        shards = [shard for shard in _shards(planned) if shard.checkpoint == checkpoint.number]
        if shards:
            reduced = reduce(run, scanned, shards, run.job.spec.scan.k)
            # Histograms of all checkpoints would take gigabytes, and nothing uses them.
            light = reduced.statistics.without_histograms()
            findings[checkpoint.number] = Findings(shards, replace(reduced, statistics=light))
    return findings


def _project(
    run: Attempt[EvolutionRun],
    findings: dict[int, Findings],
    jobs: Jobs,
    environment: Environment,
    hashes: Mapping[int, str],
) -> int:
    """Project the best unit of every channel and checkpoint; returns how many groups were run."""
    for number, finding in findings.items():
        configuration = digest(project_configuration(jobs[number], environment))
        planned = project.groups(finding.best, finding.shards, configuration, hashes, {})
        finding.groups.extend(CheckpointGroup(**vars(group), checkpoint=number) for group in planned)
    groups = [group for finding in findings.values() for group in finding.groups]
    return project.run_groups(run, groups, partial(ProjectCheckpoints, jobs))


def _checkpoint_facts(spec: EvolutionRun, every: Sequence[Checkpoint]) -> dict[str, Any]:
    """The manifest's facts on the checkpoints, in the order of the numbers in `evolution`, and on those left out."""
    files = [str(weights_file(checkpoint.stored.source)) for checkpoint in every]
    diverged = [
        DivergedFacts(name=checkpoint_name(file), file=file) for file in spec.evolve.checkpoints if file not in files
    ]
    facts = [
        CheckpointFacts(
            name=checkpoint.name, source=checkpoint.stored.source, fingerprint=checkpoint.stored.fingerprint
        )
        for checkpoint in every
    ]
    return {"checkpoints": facts, "diverged": diverged}
