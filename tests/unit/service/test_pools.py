"""Threads for calls that may hang: bounded, with a limit to waiting; values that are renewed while nobody waits."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from service.pools import CallPool, Renewed
from tests.support import loops
from workers.errors import QueryError, Unavailable


@pytest.fixture
def gate():
    """Questions that ask it hang until it is set, at the end of the test at the latest."""
    event = threading.Event()
    yield event
    event.set()


def test_a_question_that_hangs_is_given_up_and_leaves_the_other_threads_free(gate):
    pool = CallPool("the store", 2, 0.1)
    with pytest.raises(Unavailable, match=r"the store did not answer within 0\.1 s"):
        pool.ask(gate.wait)
    assert pool.ask(lambda: 7) == 7


def test_no_more_threads_hang_than_a_pool_has_and_what_waited_in_vain_is_never_asked(gate):
    pool, asked = CallPool("the store", 2, 0.05), []
    for _ in range(6):
        with pytest.raises(Unavailable):
            pool.ask(lambda: asked.append(1) or gate.wait())
    assert len(asked) == 2
    gate.set()
    assert pool.ask(lambda: 7) == 7 and len(asked) == 2


def test_too_many_waiting_questions_are_refused_at_once(gate):
    pool = CallPool("the store", 1, 5, waiting=2)
    for _ in range(3):
        pool.submit(gate.wait)
        time.sleep(0.05)
    with pytest.raises(Unavailable, match="2 requests are waiting"):
        pool.submit(gate.wait)


def fail(error: BaseException) -> None:
    raise error


def answer_next(answers: Iterator[Callable[[], Any]]) -> Any:
    return next(answers)()


def test_what_a_question_raises_is_raised_where_it_was_asked():
    pool = CallPool("the store", 1, 1)
    for error in (QueryError("no"), TimeoutError("mine"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            pool.ask(partial(fail, error))
    assert pool.ask(lambda: 7) == 7


def test_an_event_loop_goes_on_while_a_question_hangs(gate):
    pool = CallPool("the store", 1, 0.3)

    async def both() -> int:
        hung = asyncio.create_task(pool.answer(gate.wait))
        ticks = 0
        while not hung.done():
            await asyncio.sleep(0.01)
            ticks += 1
        with pytest.raises(Unavailable):
            await hung
        return ticks

    assert loops.run(both()) > 5


def test_a_value_is_read_once_for_all_who_ask_at_once_and_again_when_it_is_old():
    reads: list[Any] = []
    value = Renewed(lambda: reads.append(time.sleep(0.05)) or len(reads), CallPool("the store", 1, 5), 0.2, 0.4)
    threads = [threading.Thread(target=value.get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reads) == 1
    time.sleep(0.25)
    assert value.get() == 1  # renewed beside it
    time.sleep(0.1)
    assert value.get() == 2
    time.sleep(0.5)
    assert value.get() == 3  # too old to be given
    assert value.get(0.0) == 4


def test_a_reading_that_hangs_is_not_waited_for_twice_and_an_older_value_is_given_where_that_may_be(gate):
    answers = iter([lambda: 1, gate.wait, gate.wait])
    strict, lenient = (
        Renewed(partial(answer_next, answers), CallPool("the store", 1, 0.3), -1, -1, patience)
        for patience, answers in ((None, iter([lambda: 1, gate.wait])), (0.1, answers))
    )
    assert strict.get() == lenient.get() == 1
    for waits_s in (0.3, 0.0):
        started = time.monotonic()
        with pytest.raises(Unavailable):
            strict.get()
        assert waits_s <= time.monotonic() - started < waits_s + 0.2
    for waits_s in (0.1, 0.0):
        started = time.monotonic()
        assert lenient.get() == 1
        assert waits_s <= time.monotonic() - started < waits_s + 0.2


def test_a_reading_that_fails_is_tried_again():
    answers = iter([QueryError("no"), 2])

    def read() -> int:
        answer = next(answers)
        if isinstance(answer, QueryError):
            raise answer
        assert isinstance(answer, int)
        return answer

    value = Renewed(read, CallPool("the store", 1, 1), 1, 1)
    with pytest.raises(QueryError):
        value.get()
    assert value.get() == 2


def test_of_many_questions_one_that_hangs_is_waited_for_once_and_those_behind_it_are_not_asked(gate):
    pool, asked = CallPool("the store", 2, 0.2), []
    assert pool.ask_all(partial(int, number) for number in range(100)) == list(range(100))
    started = time.monotonic()
    with pytest.raises(Unavailable):
        pool.ask_all([gate.wait, gate.wait, *[lambda: asked.append(1)] * 5])
    assert time.monotonic() - started < 1
    gate.set()
    time.sleep(0.1)
    assert not asked
