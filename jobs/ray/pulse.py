"""Signs of life of actors. Takes seats and the time, asks each actor how far it is, gives those that have fallen silent."""

from collections.abc import Iterable, Sequence

from jobs.ray.actor import answer
from jobs.ray.seats import Seat

SILENCE_S = 30.0  # Ray needs some seconds to end a stopped process and to start another: noticed and replaced within 60


def ask(seats: Iterable[Seat], now: float) -> None:
    """Ask every actor how far it is, and take in what has been answered; waits for nobody."""
    for seat in seats:
        if seat.poll is None:
            seat.poll, seat.asked = seat.actor.done.remote(), now
            continue
        answered, done = answer(seat.poll)
        if answered:
            seat.poll = None
        if done is not None:
            seat.heard, seat.done = True, done


def silent(seats: Iterable[Seat], now: float) -> Sequence[Seat]:
    """Actors that have answered before and leave a question unanswered: stopped, swapped out, or cut off."""
    return [seat for seat in seats if seat.heard and seat.poll is not None and now - seat.asked > SILENCE_S]
