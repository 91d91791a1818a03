"""Admission to a pool: every actor computes the same numbers as the first, or the run stops in one line."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobs.ray.pool import Pool
from jobs.watch import SilentWatcher
from workers.actors.environment import Environment
from workers.errors import NodeError

FIRST = Environment("0.1.0", "3.11", "2.14.1", "0.29.1", "pillow", "cpu AVX2", "one")


def admit(*environments: Environment) -> None:
    pool = Pool(2, "cpu", 1, SilentWatcher())
    for environment in environments:
        pool._admit(cast("Any", SimpleNamespace()), environment, "id")


def test_nodes_that_differ_only_in_their_name_are_admitted():
    admit(FIRST, replace(FIRST, node="two"))


@pytest.mark.parametrize("field", ["torch", "device", "decoder", "engine"])
@pytest.mark.parametrize("order", [1, -1])
def test_every_difference_that_changes_numbers_is_named_whichever_comes_first(field, order):
    other = replace(FIRST, node="two", **{field: "another"})
    before, after = (FIRST, other)[::order]
    values = f"{field} {getattr(after, field)} instead of {getattr(before, field)}"
    with pytest.raises(NodeError, match=f"node {after.node} differs from node {before.node}: {values}"):
        admit(before, after)
