"""Work in other threads: in order, never far ahead of its reader, and its errors come in their turn."""

import threading
import time
from functools import partial

import pytest

from workers.host.ahead import AHEAD, run_ahead


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_the_order_of_the_tasks(threads):
    def task(number: int) -> int:
        time.sleep(0.001 * (number % 3))
        return number

    assert list(run_ahead((partial(task, number) for number in range(50)), threads)) == list(range(50))


@pytest.mark.parametrize(("threads", "most"), [(1, 1), (3, 3 * AHEAD + 1)])
def test_only_so_many_tasks_are_taken_ahead_of_the_reader(threads, most):
    taken = 0

    def tasks():
        nonlocal taken
        for number in range(200):
            taken += 1
            yield partial(int, number)

    for read, _ in enumerate(run_ahead(tasks(), threads)):
        assert taken <= read + most


def test_one_thread_is_the_callers_own_and_several_are_not():
    here = threading.get_ident()
    assert list(run_ahead([threading.get_ident] * 3, 1)) == [here] * 3
    assert here not in list(run_ahead([threading.get_ident] * 3, 2))


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_is_raised_in_its_turn(threads):
    results = run_ahead([partial(int, "1"), partial(int, "x"), partial(int, "3")], threads)
    assert next(results) == 1
    with pytest.raises(ValueError, match="'x'"):
        next(results)
