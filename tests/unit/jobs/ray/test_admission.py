"""Admission to a pool: every actor computes the same numbers as the first, or the run stops in one line."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobs.ray.pool import Pool
from jobs.ray.seats import Seat
from jobs.watch import SilentWatcher
from workers.actors.environment import Environment
from workers.errors import NodeError

FIRST = Environment("0.1.0", "3.11", "2.14.1", "0.29.1", "pillow", "cpu AVX2", "one")


def admit(*environments: Environment) -> list[Any]:
    """Let an actor with each environment into one pool; gives their seats."""
    pool = Pool(2, "cpu", 1, SilentWatcher())
    seats = [SimpleNamespace(ready=False) for _ in environments]
    for seat, environment in zip(seats, environments, strict=True):
        pool._admit(cast("Any", seat), environment, "id")
    return seats


def test_nodes_that_differ_only_in_their_name_are_admitted():
    one, two = admit(FIRST, replace(FIRST, node="two"))
    assert (one.ready, one.host, two.ready, two.host) == (True, "one", True, "two")


@pytest.mark.parametrize("field", ["torch", "device", "decoder", "engine"])
@pytest.mark.parametrize("order", [1, -1])
def test_every_difference_that_changes_numbers_is_named_whichever_comes_first(field, order):
    other = replace(FIRST, node="two", **{field: "another"})
    before, after = (FIRST, other)[::order]
    values = f"{field} {getattr(after, field)} instead of {getattr(before, field)}"
    with pytest.raises(NodeError, match=f"node {after.node} differs from node {before.node}: {values}"):
        admit(before, after)


def test_only_actors_that_no_node_has_had_room_for_are_given_up(monkeypatch):
    """An actor that builds its worker for long has a node, and so has an idle one that was never asked for its progress."""
    killed: list[str] = []
    monkeypatch.setattr("jobs.ray.pool.ray.kill", killed.append)
    pool = Pool(4, "cpu", 1, SilentWatcher(), available=lambda: 1, clock=lambda: 1000.0)
    pool._seats = [
        Seat("idle", ready=True),
        Seat("building", has_answered=True),
        Seat("waiting"),
        Seat("just hired", started=999.0),
    ]
    pool._shrink()
    assert killed == ["waiting"]
    assert [seat.actor for seat in pool._seats] == ["idle", "building", "just hired"]
