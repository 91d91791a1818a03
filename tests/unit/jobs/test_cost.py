"""What work costs when several actors share the cores, and how a corpus is divided among them."""

import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.cost import Cost, cost_of, longest

BUSY = "import time\nwhile time.process_time() < 0.3: pass"


def test_waiting_costs_no_processor_and_work_in_a_process_of_ones_own_does():
    waited = cost_of(lambda: time.sleep(0.2))
    assert waited.wall_s >= 0.2 > 0.1 > waited.cpu_s

    with subprocess.Popen([sys.executable, "-c", BUSY + "\ntime.sleep(60)"]) as child:
        worked = cost_of(lambda: time.sleep(3))
        child.kill()
    assert worked.cpu_s > 0.25


@pytest.mark.parametrize(("cores", "seconds"), [(2.0, 3.0), (1.5, 3.0), (1.0, 4.0), (0.5, 8.0)])
def test_work_that_used_more_cores_than_it_will_have_takes_longer(cores, seconds):
    assert Cost(3.0, 4.0).on(cores) == seconds


def test_costs_add_up_before_they_are_bounded():
    assert (Cost(1.0, 4.0) * 2 + Cost(7.0, 1.0)).on(1) == 9.0


@pytest.mark.parametrize(("sizes", "actors", "most"), [
    ((512, 488), 2, 512), ((512, 512, 512), 2, 1024), ((512,), 4, 512), ((), 3, 0), ((9, 1, 1, 1), 2, 9),
])  # fmt: skip
def test_the_busiest_actor_decides(sizes, actors, most):
    assert longest(sizes, actors) == most


@given(st.lists(st.integers(0, 1000), max_size=30), st.integers(1, 8))
def test_an_actor_that_is_free_takes_the_next_item(sizes, actors):
    ends = [0] * actors  # the other road: minute by minute, the first actor that is free takes it
    for size in sizes:
        first = min(range(actors), key=ends.__getitem__)
        ends[first] += size
    assert longest(sizes, actors) == max(ends)
