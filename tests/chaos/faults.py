"""What may happen to a run on a real cluster. A new fault is one function with a line in `FAULTS`.

A fault takes the scene and a source of choices, and returns whether it found something to act on.
"""

import random
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import psutil

from tests.chaos.cluster import DASHBOARD, GCS, ThreeNodes, is_alive, is_stopped, kill, send
from tests.chaos.drivers import Driver
from tests.support import failing_store

BRIEFLY_S = (1.0, 5.0)


class Scene(Protocol):
    """What a fault can act on."""

    cluster: ThreeNodes
    control: Path  # file that says what the store refuses

    @property
    def driver(self) -> Driver:
        """The first driver that runs."""

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something later, at the latest when the round ends."""

    def start_driver(self) -> None:
        """Start one more driver of the same run."""


Fault = Callable[[Scene, random.Random], bool]


def _pause(scene: Scene, process: psutil.Process | None, seconds: float) -> bool:
    if not is_alive(process):
        return False
    assert process is not None
    send(process, signal.SIGSTOP)
    scene.later(seconds, lambda: send(process, signal.SIGCONT))
    return True


def _kill_an_actor(scene: Scene, choose: random.Random) -> bool:
    actors = scene.cluster.actors()
    if actors:
        kill(choose.choice(actors))
    return bool(actors)


def _stop_an_actor(scene: Scene, choose: random.Random) -> bool:
    actors = scene.cluster.actors()
    return bool(actors) and _pause(scene, choose.choice(actors), choose.uniform(*BRIEFLY_S))


def _stop_an_actor_for_good(scene: Scene, choose: random.Random) -> bool:
    actors = scene.cluster.actors()
    if actors:
        send(choose.choice(actors), signal.SIGSTOP)
    return bool(actors)


def _kill_a_raylet(scene: Scene, choose: random.Random) -> bool:
    raylet = scene.cluster.raylet(choose.choice(scene.cluster.nodes()))
    if is_alive(raylet):
        kill(raylet)
        _heal_later(scene, 1.0)
        return True
    return False


def _stop_a_raylet(scene: Scene, choose: random.Random) -> bool:
    return _pause(scene, scene.cluster.raylet(choose.choice(scene.cluster.nodes())), choose.uniform(*BRIEFLY_S))


def _lose_a_node(scene: Scene, choose: random.Random) -> bool:
    scene.cluster.remove(choose.choice(scene.cluster.nodes()))
    _heal_later(scene, 2.0)
    return True


def _heal_later(scene: Scene, seconds: float) -> None:
    """Replace what is dead, but not while the head is stopped: a new node would wait for it, and so would the signal to go on."""

    def heal() -> None:
        if is_stopped(scene.cluster.head(GCS)):
            _heal_later(scene, 0.5)
        else:
            scene.cluster.heal(failing_calls=scene.cluster.has_failing_calls)

    scene.later(seconds, heal)


def _on_the_driver(act: Callable[[Driver], None]) -> Fault:
    def begin(scene: Scene, choose: random.Random) -> bool:
        del choose
        is_running = scene.driver.is_alive
        act(scene.driver)
        return is_running

    return begin


def _stop_the_driver(scene: Scene, choose: random.Random) -> bool:
    return _pause(scene, scene.driver.process, choose.uniform(*BRIEFLY_S))


def _start_a_second_driver(scene: Scene, choose: random.Random) -> bool:
    del choose
    scene.start_driver()
    return True


def _lose_the_head(scene: Scene, choose: random.Random) -> bool:
    del choose
    scene.cluster.kill_head()
    return True


def _stop_the_head(scene: Scene, choose: random.Random) -> bool:
    return _pause(scene, scene.cluster.head(GCS), choose.uniform(*BRIEFLY_S))


def _kill_the_dashboard(scene: Scene, choose: random.Random) -> bool:
    del choose
    dashboard = scene.cluster.head(DASHBOARD)
    if dashboard is None:
        return False
    kill(dashboard)
    return True


def _store(error: str, seconds: float) -> Fault:
    def begin(scene: Scene, choose: random.Random) -> bool:
        del choose
        failing_store.refuse(scene.control, "", seconds, error=error)
        own = scene.control.stat().st_mtime_ns  # a later fault replaces the file

        def end() -> None:
            if scene.control.exists() and scene.control.stat().st_mtime_ns == own:
                failing_store.calm(scene.control)

        scene.later(seconds, end)
        return True

    return begin


# Name, weight among all faults, and the fault.
FAULTS: Mapping[str, tuple[int, Fault]] = {
    "an actor is killed": (6, _kill_an_actor),
    "an actor stops for 1 to 5 s": (3, _stop_an_actor),
    "an actor stops for good": (1, _stop_an_actor_for_good),
    "a raylet is killed": (3, _kill_a_raylet),
    "a raylet stops for 1 to 5 s": (2, _stop_a_raylet),
    "a node is lost": (3, _lose_a_node),
    "the driver is killed": (4, _on_the_driver(Driver.kill)),
    "the driver stops for 1 to 5 s": (2, _stop_the_driver),
    "the driver is ended by SIGTERM": (2, _on_the_driver(Driver.stop)),
    "a second driver starts": (2, _start_a_second_driver),
    "the head is lost": (1, _lose_the_head),
    "the head's server stops for 1 to 5 s": (2, _stop_the_head),
    "the dashboard is killed": (1, _kill_the_dashboard),
    "the store refuses everything for 3 s": (3, _store("throttled", 3.0)),
    "the store does not respond for 4 s": (2, _store("hanging", 4.0)),
    "the store is slow for 4 s": (2, _store("slow", 4.0)),
    "the store is full for 2 s": (1, _store("full", 2.0)),
}
