"""Two publishers of one run at a time: whatever the order of their steps, one set of tables is published, and no other is seen.

Every order in which the turn changes a few times is walked through, and some of the others. Where two of them lead to the same
files, and both publishers have been answered the same, what follows is walked through once.
"""

import os
import random
import threading
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from jobs.run import publish
from tests.unit.jobs.run.test_publish import FACTS
from tests.unit.jobs.run.test_publish_killed import RUN, everything, listed, stage
from workers.errors import DamagedRun
from workers.store import local, objects, paths, verify
from workers.store.facts import PartFile
from workers.store.manifest import Manifest
from workers.store.root import Root

# What a publisher does between two of these, no other can tell. A move is a check and a rename, or a copy and a removal.
STEPS = [
    *((Root, name) for name in ("read", "open", "exists", "files", "folders", "put", "put_file", "create", "delete")),
    (local, "move"),
    (objects, "copy"),
]


class Abandoned(BaseException):
    """Nobody waits for this publisher any more."""


class Publisher(threading.Thread):
    """Publishes, and waits before each of its steps.

    Args:
        act: publishes.

    Attributes:
        answers: of its steps.
        outcome: what publishing returned or raised; None until then.
    """

    def __init__(self, act: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._act, self._go, self._waits = act, threading.Semaphore(0), threading.Semaphore(0)
        self._is_abandoned = False
        self.answers: list[Any] = []
        self.outcome: Any = None
        self.start()
        self._waits.acquire()

    def run(self) -> None:
        try:
            self._pause()
            self.outcome = self._act()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.outcome = error
        self._waits.release()

    def step(self) -> None:
        """Let it do its next step, up to the one after."""
        self._go.release()
        self._waits.acquire()

    def before(self, act: Callable[..., Any], *args: Any) -> Any:
        """Wait, then do a step."""
        self._pause()
        try:
            answer = act(*args)
        except FileNotFoundError:
            self.answers.append(None)
            raise
        self.answers.append(repr(answer) if isinstance(answer, bool | bytes | list | dict) else "")
        return answer

    def abandon(self) -> None:
        """Have it end where it is."""
        self._is_abandoned = True
        self._go.release()
        self.join()

    def _pause(self) -> None:
        self.answers.append("waits")
        self._waits.release()
        self._go.acquire()
        if self._is_abandoned:
            raise Abandoned


@pytest.fixture(autouse=True)
def steps(monkeypatch) -> None:
    """Publishers wait before their steps; nothing is synced, which would only take time."""

    def waiting(act: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **options: Any) -> Any:
            thread = threading.current_thread()
            return thread.before(act, *args) if isinstance(thread, Publisher) else act(*args, **options)

        return step

    monkeypatch.setattr(os, "fsync", lambda _: None)
    for owner, name in STEPS:
        monkeypatch.setattr(owner, name, waiting(getattr(owner, name)))


def contents(root: Root) -> tuple[tuple[str, str], ...]:
    return tuple(
        (path, sha256(root.filesystem.cat_file(root.path(path))).hexdigest()) for path in sorted(everything(root))
    )


@cache
def _staged(detail: str) -> dict[str, tuple[PartFile, bytes]]:
    """Parts of two tables, and what they hold, by where they wait."""
    root = Root(f"memory://{uuid.uuid4().hex}")
    with root.scratch() as scratch:
        parts = [part for written in stage(root, scratch, detail).values() for part in written]
    return {paths.staged_path(part.path): (part, root.read(paths.staged_path(part.path))) for part in parts}


State = tuple[Root, list[Publisher], list[int]]


class Interleavings:
    """Orders of the steps of two publishers.

    Args:
        new_root: gives an empty root.
        scratch: temporary folder.
        details: what each publisher's tables hold.
    """

    def __init__(self, new_root: Callable[[], Root], scratch: Path, details: tuple[str, str]) -> None:
        self._new_root, self._scratch, self._details = new_root, scratch, details
        self._known: set[Any] = set()

    def every(self, switches: int) -> Iterator[State]:
        """All orders in which the turn changes so often: the root, the publishers and the turns after each new step."""
        waiting: list[list[int]] = [[0], [1]]
        while waiting:
            root, publishers, turns = self._replayed(waiting.pop())
            while self._is_new(root, publishers, left := switches - sum(map(int.__ne__, turns, turns[1:])), turns[-1]):
                yield root, publishers, turns
                live = [number for number in (0, 1) if publishers[number].outcome is None]
                if not live:
                    break
                turn = turns[-1] if turns[-1] in live else live[0]
                if len(live) == 2 and left > 0:
                    waiting.append([*turns, 1 - turn])
                turns = [*turns, turn]
                publishers[turn].step()
            for publisher in publishers:
                publisher.abandon()

    def some(self, trials: int) -> Iterator[State]:
        """So many orders, in which the turn changes after one to ten steps."""
        for seed in range(trials):
            draw, (root, publishers, turns) = random.Random(seed), self._replayed([])
            while live := [number for number in (0, 1) if publishers[number].outcome is None]:
                turn = draw.choice(live)
                for _ in range(draw.randint(1, 10)):
                    if publishers[turn].outcome is None:
                        publishers[turn].step()
                        turns.append(turn)
                yield root, publishers, turns

    def _replayed(self, turns: list[int]) -> State:
        root = self._new_root()
        publishers = [self._publisher(root, number) for number in (0, 1)]
        for turn in turns:
            publishers[turn].step()
        return root, publishers, turns

    def _is_new(self, root: Root, publishers: list[Publisher], *choices: int) -> bool:
        state = (contents(root), *(tuple(each.answers) for each in publishers), *choices)
        is_new = state not in self._known
        self._known.add(state)
        return is_new

    def _publisher(self, root: Root, number: int) -> Publisher:
        scratch, parts = self._scratch / str(number), dict[str, list[PartFile]]()
        scratch.mkdir(exist_ok=True)
        for path, (part, data) in _staged(self._details[number]).items():
            root.put(path, data)
            parts.setdefault(part.path.split("/")[1], []).append(part)
        return Publisher(lambda: publish.publish(root, RUN, parts, FACTS, scratch))


@pytest.fixture(params=["local", "memory"])
def new_root(request, tmp_path) -> Callable[[], Root]:
    def made() -> Root:
        name = uuid.uuid4().hex
        MemoryFileSystem.store.clear()  # a listing visits the files of all roots, and the earlier one is done with
        return Root(str(tmp_path / name) if request.param == "local" else f"memory://{name}")

    return made


ORDERS = [
    ("every", 1),
    ("some", 100),
    pytest.param(("every", 2), marks=pytest.mark.slow),
    pytest.param(("some", 500), marks=pytest.mark.slow),
]


def states(
    orders: tuple[str, int], new_root: Callable[[], Root], scratch: Path, details: tuple[str, str]
) -> Iterator[State]:
    name, count = orders
    yield from getattr(Interleavings(new_root, scratch, details), name)(count)


def visible(root: Root, *details: str) -> tuple[set[str], set[str]]:
    """Whose rows readers of whole folders see in both tables; files are named by what they hold."""
    owners = {part.path: detail for detail in details for part, _ in _staged(detail).values()}
    rejects, images = (
        {owners[path] for path in everything(root) if path.startswith(f"tables/{table}/") and path.endswith(".parquet")}
        for table in ("rejects", "images")
    )
    return rejects, images


def is_tidy(root: Root) -> bool:
    """Whether the run is whole, and nothing else is left of its publishers."""
    left = {path for path in everything(root) if path.startswith(f"runs/{RUN}/")}
    damage = [finding for finding in verify.verify(root, RUN) if finding.damage]
    return listed(root) and not damage and left == {paths.manifest_path(RUN), paths.checksum_path(RUN)}


@pytest.mark.parametrize("orders", ORDERS, ids=str)
def test_of_two_publishers_of_other_tables_one_wins_and_nobody_ever_sees_rows_of_both(orders, new_root, tmp_path):
    winners = set()
    for root, publishers, turns in states(orders, new_root, tmp_path, ("one", "other")):
        rejects, images = visible(root, "one", "other")
        assert len(rejects | images) <= 1, turns
        if root.exists(paths.manifest_path(RUN)):
            assert rejects == images != set(), turns
        outcomes = [each.outcome for each in publishers]
        if all(outcomes):
            assert sorted(type(outcome).__name__ for outcome in outcomes) == ["DamagedRun", "Manifest"], (
                turns,
                outcomes,
            )
            [error] = [outcome for outcome in outcomes if isinstance(outcome, DamagedRun)]
            assert "was already published with different tables; choose another --run" in str(error), turns
            assert is_tidy(root), turns
            assert rejects == {("one", "other")[outcomes.index(error) - 1]}, turns
            winners |= rejects
    assert winners == {"one", "other"}


@pytest.mark.parametrize("orders", ORDERS, ids=str)
def test_of_two_publishers_of_the_same_tables_both_succeed(orders, new_root, tmp_path):
    ends = 0
    for root, publishers, turns in states(orders, new_root, tmp_path, ("same", "same")):
        outcomes = [each.outcome for each in publishers]
        if all(outcomes):
            assert isinstance(outcomes[0], Manifest) and outcomes[0] == outcomes[1], (turns, outcomes)
            assert is_tidy(root) and visible(root, "same") == ({"same"}, {"same"}), turns
            ends += 1
    assert ends
