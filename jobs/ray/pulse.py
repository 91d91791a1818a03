"""Liveness of actors. Takes seats and the time, polls each actor's progress, gives the actors that no longer answer."""

from collections.abc import Iterable, Sequence

from jobs.ray.actor import read_poll
from jobs.ray.seats import Seat

EVERY_S = 1.0
# Ray takes seconds to kill a stopped process and to start another; so an actor is replaced within 60 s.
SILENCE_S = 30.0


def poll(seats: Iterable[Seat], now: float) -> None:
    """Poll every actor's progress once a second and store the answers that have arrived; does not wait."""
    for seat in seats:
        if seat.poll is None:
            if now - seat.polled_at >= EVERY_S:
                seat.poll, seat.polled_at = seat.actor.done.remote(), now
            continue
        is_answered, done = read_poll(seat.poll)
        if is_answered:
            seat.poll = None
        if done is not None:
            seat.has_answered = True
            if seat.polled_at >= seat.started:  # else the answer may be about an earlier item
                seat.done = done


def find_silent(seats: Iterable[Seat], now: float) -> Sequence[Seat]:
    """Placed actors that no longer answer: stopped, swapped out, or disconnected."""
    return [seat for seat in seats if seat.is_placed and seat.poll is not None and now - seat.polled_at > SILENCE_S]
