"""Deliberate faults in the pool, each of which rounds of chaos must show. They are in the processes that run the command.

Whatever only loses results is no fault that shows: results that are missing are computed again before tables are written.
"""

from collections.abc import Callable, Mapping


def _a_lost_actor_is_ignored() -> None:
    from jobs.ray.pool import Pool

    setattr(Pool, "_lose", lambda *_: None)  # noqa: B010 - its type differs


def _actors_that_stop_are_not_noticed() -> None:
    from jobs.ray import pulse

    setattr(pulse, "find_silent", lambda *_: [])  # noqa: B010


# Name, the fault in the code, and the faults around it that make it show: seconds, and a name of `FAULTS`.
MUTATIONS: Mapping[str, tuple[Callable[[], None], list[tuple[float, str]]]] = {
    "a lost actor is ignored": (_a_lost_actor_is_ignored, [(at / 2, "an actor is killed") for at in range(4, 24)]),
    "actors that stop are not noticed": (
        _actors_that_stop_are_not_noticed,
        [(at / 4, "an actor stops for good") for at in range(8, 48)],
    ),
}
