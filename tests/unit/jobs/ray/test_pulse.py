"""Actors are polled once a second, and their silence is noticed."""

from types import SimpleNamespace
from typing import Any

import pytest

from jobs.ray import pulse
from jobs.ray.seats import Seat


@pytest.fixture
def polled(monkeypatch) -> dict[str, Any]:
    """How often an actor was polled, and what it answers."""
    state: dict[str, Any] = {"count": 0, "answer": (True, 7)}

    def ask() -> str:
        state["count"] += 1
        return "future"

    state["seat"] = Seat(SimpleNamespace(done=SimpleNamespace(remote=ask)))
    monkeypatch.setattr(pulse, "read_poll", lambda _: state["answer"])
    return state


def test_an_actor_is_polled_once_a_second_however_often_it_is_looked_after(polled):
    for tick in range(100):
        pulse.poll([polled["seat"]], 1000 + tick / 32)
    assert polled["count"] == 4 and polled["seat"].done == 7 and polled["seat"].has_answered


def test_an_answer_about_an_earlier_item_does_not_count_for_the_next_one(polled):
    seat = polled["seat"]
    pulse.poll([seat], 0.0)
    seat.started, seat.done = 0.5, 0  # the next item begins while the answer is on its way
    pulse.poll([seat], 0.6)
    assert seat.done == 0 and seat.has_answered and seat.poll is None
    for now in (1.0, 1.1):
        pulse.poll([seat], now)
    assert seat.done == 7


def test_an_actor_that_has_answered_and_no_longer_does_is_silent(polled):
    seat = polled["seat"]
    for now in (0.0, 0.5, 1.5):
        pulse.poll([seat], now)
    polled["answer"] = (False, None)
    for now in (2.0, 20.0, 31.0):
        pulse.poll([seat], now)
        assert not pulse.find_silent([seat], now)
    assert pulse.find_silent([seat], 32.0) == [seat]


def test_an_actor_that_stops_before_its_first_answer_is_silent_once_it_is_ready(polled):
    seat = polled["seat"]
    polled["answer"] = (False, None)
    pulse.poll([seat], 0.0)
    assert not pulse.find_silent([seat], 100.0)  # it may still wait for room
    seat.ready = True
    assert pulse.find_silent([seat], 100.0) == [seat]
