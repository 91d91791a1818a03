"""Results of scans of more layers, which hold those of fewer. Takes a plan, gives the items that make its missing results.

Each scan leaves a note under the root: which layers it has, by the hash of the rest of its configuration. So a scan finds others
that differ from it by their layers only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from pydantic.dataclasses import dataclass

from jobs.run.attempt import Attempt
from jobs.run.plan import Plan
from workers.actors.environment import EAGER, Environment
from workers.actors.job import Job, digest
from workers.actors.scan import scan_configuration, scans_alike
from workers.actors.shard import Narrow
from workers.core.network import Network
from workers.spec.scan import RunSpec
from workers.store import paths
from workers.store.json_format import JsonFormat
from workers.store.root import Root


@dataclass(frozen=True)
class LayerSet:
    """The layers of a scan."""

    layers: tuple[str, ...]


_FORMAT = JsonFormat(LayerSet)


def note(root: Root, job: Job[RunSpec], environment: Environment) -> None:
    """Leave a note of a scan's layers, unless there is one."""
    path = paths.layer_set_path(*_hashes(job, environment))
    if _read(root, path) != job.layers:
        root.put(path, _FORMAT.encode(LayerSet(job.layers)))


def narrow(run: Attempt[RunSpec], planned: Plan, environment: Environment) -> int:
    """Make missing results from those of scans of more layers, by actors; gives their number."""
    items = list(find(run.root, run.job, run.model.network, planned, environment))
    if not items:
        return 0
    run.watch.phase("reuse", len(items), "shards of a scan of more layers")
    made = 0
    for report in run.pool.run(items, lambda _: None, run.replan):
        made += not report.missing
        run.watch.advance(made)
    return made


def find(root: Root, job: Job[RunSpec], network: Network, planned: Plan, environment: Environment) -> Iterator[Narrow]:
    """The missing results of a plan that results of scans of more layers hold.

    Args:
        root: where results are stored.
        job: the job.
        network: its network.
        planned: its plan.
        environment: its software and device.
    """
    if environment.engine != EAGER or not planned.todo:  # a compiler fuses other operations for other layers
        return
    missing = {paths.result_name(shard.result): shard for work in planned.todo for shard in work.shards}
    layers = tuple(layer.index for layer in network.select(job.layers))
    for configuration in _wider(root, job, network, environment):
        folder = paths.shard_folder(configuration)
        for name in sorted(root.files(folder).keys() & missing.keys()):
            shard = missing.pop(name)
            yield Narrow(shard.start, shard.stop, shard.result, f"{folder}/{name}", layers)


def without(planned: Plan, items: Sequence[Narrow]) -> Plan:
    """A plan without the missing results that some items make; each of its works is a single shard."""
    made = {item.result for item in items}
    todo = tuple(work for work in planned.todo if not made.issuperset(shard.result for shard in work.shards))
    return replace(planned, todo=todo)


def _wider(root: Root, job: Job[RunSpec], network: Network, environment: Environment) -> Sequence[str]:
    """The configurations of scans of more layers with the same numbers for the job's own."""
    rest, own = _hashes(job, environment)
    folder = paths.layer_sets_folder(rest)
    others = [name for name in sorted(root.files(folder)) if name != f"{own}.json"]
    wider = [name for name in others if scans_alike(job, network, _read(root, f"{folder}/{name}"))]
    return [name.removesuffix(".json") for name in wider]


def _read(root: Root, path: str) -> tuple[str, ...]:
    """The layers of a note; none if it is missing or damaged, which only costs its reuse."""
    try:
        return _FORMAT.decode(root.read(path)).layers
    except (FileNotFoundError, ValueError):
        return ()


def _hashes(job: Job[RunSpec], environment: Environment) -> tuple[str, str]:
    """The hashes of a scan's configuration without its layers, and of the whole."""
    whole: dict[str, Any] = scan_configuration(job, environment)
    return digest({name: value for name, value in whole.items() if name != "layers"}), digest(whole)
