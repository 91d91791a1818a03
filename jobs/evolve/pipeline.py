"""Features over a training, from a spec to a published run: the order of things. Takes a spec, gives an outcome."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from jobs import project
from jobs.evolve import checkpoints
from jobs.evolve.checkpoints import Checkpoint
from jobs.evolve.rows import Results, Seen, evolution_rows
from jobs.reduce import reduce
from jobs.run import identity, plan, publish
from jobs.run.accounts import Accounted, Accounts
from jobs.run.attempt import Attempt, attempt
from jobs.run.outcome import Outcome
from jobs.run.plan import Plan
from jobs.watch import Watcher
from workers.actors.evolve import EvolveWorker, ProjectCheckpoints
from workers.actors.job import Environment, Job, digest, project_configuration, scan_configuration
from workers.actors.shard import CheckpointBatch, CheckpointGroup, CheckpointShard, Shard
from workers.corpus.manifest import Listing
from workers.models.model import Model
from workers.spec.evolve import EvolutionRun, checkpoint_name
from workers.spec.families import weights_file
from workers.store import paths
from workers.store.manifest import CheckpointFacts, DivergedFacts
from workers.store.root import patient
from workers.store.tables.evolve import EVOLUTION
from workers.store.tables.shared import IMAGES, REJECTS

HELD_BYTES = 1 << 30  # of checkpoints that one actor has in memory at once
SCORE_BYTES = 4

Jobs = tuple[Job[EvolutionRun], ...]


def evolve(spec: EvolutionRun, watch: Watcher) -> Outcome:
    """Scan every checkpoint of a training, or go on where an earlier attempt stopped.

    Raises:
        UsageError: something is wrong with the spec; nothing was written.
        RunStopped: the run cannot go on; what is finished stays.
    """
    asked, found = checkpoints.ending_soundly(checkpoints.resolved(spec)), list[Checkpoint]()

    def check(last: Model, _: Listing) -> None:
        found.extend(checkpoints.load(asked, last, watch.say))
        _check_published(asked, found)

    return attempt(asked, watch, spec.scan.layers, lambda run: _work(run, found), check)


def _check_published(spec: EvolutionRun, every: Sequence[Checkpoint]) -> None:
    """The files of a published run must still be what they were; a run of other files is another one anyway."""
    published = publish.published(patient(spec.root), spec.run) if spec.run else None
    evolve = published.asked.evolve if published else None
    if published and evolve and evolve.checkpoints == spec.evolve.checkpoints:
        before = {each.source: each.fingerprint for each in published.checkpoints}
        now = {each.stored.source: each.stored.fingerprint for each in every}
        for source in sorted(before.keys() | now.keys()):  # one that is in one of them alone has diverged in the other
            identity.check_weights(str(spec.run), source, before.get(source, "diverged"), now.get(source, "diverged"))


def _work(run: Attempt[EvolutionRun], every: Sequence[Checkpoint]) -> Outcome:
    """Scan, reduce, project, publish."""
    checkpoints.store(run.job.spec, every, run.model, run.root)
    jobs = tuple(_job(run, each) for each in every)
    environment = run.pool.start(partial(EvolveWorker, jobs))
    planned, scanned, seconds = run.shards("scan", _planned(run, every, jobs, environment), "images by checkpoint")
    images, rejects = run.writer(IMAGES), run.writer(REJECTS)
    results = Results(_stored(run, jobs, planned), run.stored(partial(_projector, jobs)))
    seen = _reduced(run, every, planned, Accounts(results.scanned, images, rejects))
    projected = _project(run, seen, jobs, environment)
    groups = [group for each in seen.values() for group in each.groups]
    run.watch.phase("publish", None, "tables")
    with run.writer(EVOLUTION) as writer:
        for rows in evolution_rows(run, every, seen, results):
            writer.write(rows)
        parts = {EVOLUTION.name: writer.close(), "images": images.close(), "rejects": rejects.close()}
    rate = scanned / seconds if scanned else None
    names = {"shards": [shard.result for shard in planned.shards], "groups": [group.result for group in groups]}
    told = run.publish(
        parts, seen[0].reduced.counted, environment, images_per_s=rate, **names, **_told(run.job.spec, every)
    )
    ran = {"groups_run": projected, "groups_reused": len(groups) - projected}
    return run.ended(told, planned, rate, **ran)


def _job(run: Attempt[EvolutionRun], checkpoint: Checkpoint) -> Job[EvolutionRun]:
    """The scan of a checkpoint, of the layers that are new in it."""
    spec = run.job.spec
    plain = spec.model_copy(update={"project": spec.project.model_copy(update={"previews": False})})
    fresh = tuple(layer.name for layer in checkpoint.fresh(run.layers))
    return replace(run.job, spec=plain, model=checkpoint.stored, layers=fresh)


def _planned(run: Attempt[EvolutionRun], every: Sequence[Checkpoint], jobs: Jobs, environment: Environment) -> Plan:
    """For each stretch of images a batch of all checkpoints that have something new; to do is what is not there."""
    names = {each.number: digest(scan_configuration(jobs[each.number], environment)) for each in _changing(every, jobs)}
    done = {number: run.root.files(paths.shard_folder(name)) for number, name in names.items()}
    base = plan.plan(run.root, run.job.manifest, names[0], run.job.spec.scan.shard)
    works = [
        CheckpointBatch(tuple(_shard(shard, number, name) for number, name in names.items())) for shard in base.shards
    ]
    todo = []
    for held in _held_together({number: _held_bytes(run, every[number]) for number in names}):
        for work in works:
            missing = [
                each for each in work.shards if each.checkpoint in held and _file(each) not in done[each.checkpoint]
            ]
            if missing:
                todo.append(CheckpointBatch(tuple(missing)))
    return Plan(tuple(works), tuple(todo), base.images)


def _changing(every: Sequence[Checkpoint], jobs: Jobs) -> list[Checkpoint]:
    return [each for each in every if jobs[each.number].layers]


def _held_bytes(run: Attempt[EvolutionRun], checkpoint: Checkpoint) -> int:
    """What an actor has in memory of a checkpoint at once: its weights, and the scores of a shard's images."""
    channels = sum(layer.channels for layer in checkpoint.fresh(run.layers))
    return checkpoint.weight_bytes + SCORE_BYTES * channels * run.job.spec.scan.shard


def _held_together(held_bytes: Mapping[int, int]) -> list[set[int]]:
    """Checkpoints in their order, in parts that fit into an actor's memory."""
    parts: list[set[int]] = []
    held = HELD_BYTES
    for number, needed in held_bytes.items():
        held += needed
        if held > HELD_BYTES:
            parts.append(set())
            held = needed
        parts[-1].add(number)
    return parts


def _shard(shard: Shard, checkpoint: int, configuration: str) -> CheckpointShard:
    """The same images, their result named for a checkpoint."""
    result = f"{paths.shard_folder(configuration)}/{_file(shard)}"
    return CheckpointShard(shard.start, shard.stop, shard.manifest, result, checkpoint)


def _file(shard: Shard) -> str:
    return shard.result.rpartition("/")[2]


def _stored(run: Attempt[EvolutionRun], jobs: Jobs, planned: Plan) -> Any:  # noqa: ANN401 - see Attempt.stored
    return run.stored(partial(_scanner, jobs), [CheckpointBatch((shard,)) for shard in _shards(planned)])


def _scanner(jobs: Jobs, _: Job[EvolutionRun]) -> EvolveWorker:
    return EvolveWorker(jobs)


def _projector(jobs: Jobs, _: Job[EvolutionRun]) -> ProjectCheckpoints:
    return ProjectCheckpoints(jobs)


def _shards(planned: Plan) -> list[CheckpointShard]:
    return [shard for shard in planned.shards if isinstance(shard, CheckpointShard)]


def _reduced(
    run: Attempt[EvolutionRun], every: Sequence[Checkpoint], planned: Plan, accounts: Accounts
) -> dict[int, Seen]:
    """What each checkpoint's new layers saw, by its number; images are accounted for once, at the first."""
    taker: Accounts | Accounted = accounts
    found = {}
    for each in every:
        shards = [shard for shard in _shards(planned) if shard.checkpoint == each.number]
        if shards:
            reduced = reduce(taker, shards, run.job.spec.scan.k)
            taker = Accounted(accounts.stored, reduced.counted)
            # Histograms of so many checkpoints would be gigabytes, and nothing asks for them.
            light = replace(reduced.statistics, bins=(), counts=())
            found[each.number] = Seen(shards, replace(reduced, statistics=light))
    return found


def _project(run: Attempt[EvolutionRun], seen: dict[int, Seen], jobs: Jobs, environment: Environment) -> int:
    """Project the best unit of every channel and checkpoint; gives how many groups were not there before."""
    for number, each in seen.items():
        configuration = digest(project_configuration(jobs[number], environment))
        found = project.groups(each.best, each.shards, configuration)
        each.groups.extend(CheckpointGroup(**vars(group), checkpoint=number) for group in found)
    groups = [group for each in seen.values() for group in each.groups]
    return project.run_groups(run, groups, partial(ProjectCheckpoints, jobs))


def _told(spec: EvolutionRun, every: Sequence[Checkpoint]) -> dict[str, Any]:
    """What the manifest says of the checkpoints, in the order of the numbers in `evolution`, and which were left out."""
    files = [str(weights_file(each.stored.source)) for each in every]
    lost = [
        DivergedFacts(name=checkpoint_name(file), file=file) for file in spec.evolve.checkpoints if file not in files
    ]
    kept = [
        CheckpointFacts(name=each.name, source=each.stored.source, fingerprint=each.stored.fingerprint)
        for each in every
    ]
    return {"checkpoints": kept, "diverged": lost}
