"""The shape of a scan's network, reduced to the layers that were scanned. Takes a run, gives which layers feed which.

Only the head of the stored network is read, which holds its graph as JSON.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.query.catalog import PublishedRun
from workers.errors import StoreError
from workers.store import paths

GRAPH = "graph"  # the key of the graph in the file's metadata
LARGEST_HEAD = 64_000_000  # bytes
MOST_LANES = 6  # beyond, lines say nothing

Line = tuple[int, int]  # from a lane to a lane


@dataclass(frozen=True)
class Rail:
    """What is drawn beside a layer in a list of layers, the last one first, so that lines show which layers feed it.

    Attributes:
        lane: lane of the layer.
        above: lines from the layers above to this height, by their lanes.
        below: lines from this height to the layers below.
    """

    lane: int
    above: tuple[Line, ...]
    below: tuple[Line, ...]


def read_parents(run: PublishedRun) -> Mapping[str, tuple[str, ...]]:
    """For each layer of a scan, the layers that feed it directly or through layers that were not scanned; the last one first.

    Empty if the network is not stored under the root, or by another version.
    """
    try:
        nodes = _read_nodes(run)
        return _contract(nodes, {layer.name for layer in run.layers})
    except (StoreError, OSError, ValueError, KeyError, TypeError, IndexError):
        return {}


def rails(layers: Sequence[str], parents: Mapping[str, tuple[str, ...]]) -> tuple[Rail, ...]:
    """A rail for each layer; none if there are too many lanes.

    Args:
        layers: names, the last layer first.
        parents: see `read_parents`.
    """
    waiting: list[str | None] = []  # the layer that each lane leads to
    drawn = []
    for name in layers:
        arriving = [lane for lane, target in enumerate(waiting) if target == name]
        lane = arriving[0] if arriving else _free_lane(waiting)
        above = tuple((at, lane if target == name else at) for at, target in enumerate(waiting) if target is not None)
        for at in arriving:
            waiting[at] = None
        passing = [(at, at) for at, target in enumerate(waiting) if target is not None]
        leaving = [(lane, _lane_to(parent, waiting, lane)) for parent in parents.get(name, ())]
        drawn.append(Rail(lane, above, (*passing, *leaving)))
    return tuple(drawn) if count_lanes(drawn) <= MOST_LANES else ()


def count_lanes(drawn: Iterable[Rail]) -> int:
    """The number of lanes that rails take; 0 for no rails."""
    lanes = [at for rail in drawn for line in ((rail.lane, rail.lane), *rail.above, *rail.below) for at in line]
    return max(lanes, default=-1) + 1


def _free_lane(waiting: list[str | None]) -> int:
    if None not in waiting:
        waiting.append(None)
    return waiting.index(None)


def _lane_to(parent: str, waiting: list[str | None], lane: int) -> int:
    """The lane that leads to a layer: one that does already, the given one if it is free, or another free one."""
    if parent in waiting:
        return waiting.index(parent)
    if lane == len(waiting):
        waiting.append(None)
    at = lane if waiting[lane] is None else _free_lane(waiting)
    waiting[at] = parent
    return at


def _read_nodes(run: PublishedRun) -> Sequence[Mapping[str, Any]]:
    """The nodes of the stored graph.

    Raises:
        FileNotFoundError: the network is not stored.
        ValueError: the file is damaged.
    """
    with run.root.open(paths.model_path(run.fingerprint)) as file:
        size = int.from_bytes(file.read(8), "little")
        if size > LARGEST_HEAD:
            raise ValueError(f"a head of {size:,} bytes")
        head: Mapping[str, Any] = json.loads(file.read(size))
    nodes: list[Mapping[str, Any]] = json.loads(head["__metadata__"][GRAPH])
    return nodes


def _contract(nodes: Sequence[Mapping[str, Any]], names: set[str]) -> dict[str, tuple[str, ...]]:
    """The edges between the named nodes when all others are contracted.

    Raises:
        ValueError: a name has no node.
    """
    reached: list[frozenset[int]] = []  # for each node, the named ones that its value comes from, itself included
    parents: dict[str, tuple[str, ...]] = {}
    for number, node in enumerate(nodes):
        sources = frozenset[int]().union(*(reached[source] for source in node["inputs"]))
        if node["name"] in names:
            parents[node["name"]] = tuple(str(nodes[source]["name"]) for source in sorted(sources, reverse=True))
            sources = frozenset([number])
        reached.append(sources)
    if parents.keys() != names:
        raise ValueError("the stored network has other layers")
    return parents
