"""The life of a run in a simulated world, as a state machine of Hypothesis: attempts with faults, gc, and damage in any order.

After every step, the store must be one that readers may see. In the end, one undisturbed attempt must give the calm run's bytes.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.model.store import FATAL, PASSING, Fault, FaultKind
from tests.model.world import RUN, End, World
from tests.support import corpora
from workers.store import verify
from workers.store.root import Root

LIVES = 10  # for each number
SHARDS = (2, 4, 8)
ALL = 1000  # parts of an undisturbed attempt, by which the places of faults are given
RM, GC = 32, 60  # operations of each
LATE = 700  # about where publishing begins; every second fault comes later
APART = 25  # such parts between two faults: more in a row than retries outlast would be an outage


def faults(most: int) -> st.SearchStrategy[list[Fault]]:
    """At most `most` faults, at parts of an undisturbed attempt."""
    places = st.one_of(st.integers(0, ALL), st.integers(LATE, ALL))
    fault = st.builds(Fault, places, st.sampled_from(FaultKind), st.booleans())
    return st.lists(fault, min_size=min(2, most - 1), max_size=most, unique_by=lambda drawn: drawn.at // APART)


class Life(RuleBasedStateMachine):
    """One run, from its first attempt to its publication and beyond.

    Attributes:
        corpus: folder of the images.
        injected: faults that happened in all lives of this process, by kind.
        ends: how attempts ended, likewise.
        lives: number of lives, likewise.
    """

    corpus: Path
    injected: ClassVar[Counter[FaultKind]] = Counter()
    ends: ClassVar[Counter[End]] = Counter()
    lives = 0

    @initialize(shard=st.sampled_from(SHARDS))
    def begin(self, shard: int) -> None:
        """Begin with an empty store."""
        self.world, self.calm, self.shard = World(self.corpus, shard), calm(self.corpus, shard), shard
        self.was_published, self.is_removed_partly, self.damaged = False, False, dict[str, bytes]()
        type(self).lives += 1

    @rule(faults=faults(6), order=st.integers(0, 999), actors=st.integers(1, 3))
    def attempt(self, faults: list[Fault], order: int, actors: int) -> None:
        """Run the command."""
        self._attempt(faults, order, actors)

    @rule(faults=faults(6), order=st.integers(0, 999), actors=st.integers(1, 3))
    def attempt_again(self, faults: list[Fault], order: int, actors: int) -> None:
        """The same: attempts are as likely as all else together."""
        self._attempt(faults, order, actors)

    def _attempt(self, faults: list[Fault], order: int, actors: int) -> None:
        within = _within(faults, operations(self.corpus, self.shard))
        end = self.world.attempt(within, seed=order, actors=actors)
        self.ends[end] += 1
        kinds = {fault.kind for fault in self.world.happened}
        assert end is End.DONE or kinds - PASSING, (
            f"{end}, although its only faults were transient: {', '.join(sorted(kinds))}"
        )
        assert end is not End.CRASHED or kinds & FATAL
        if end is End.DONE:
            assert self.document() is not None
            self.is_removed_partly = False
            for path in [path for path in self.damaged if path.startswith("bucket/tables/")]:
                del self.damaged[path]  # the command restores tables; of results, it needs none

    @rule(faults=faults(1))
    def collect_garbage(self, faults: list[Fault]) -> None:
        """Run gc while no attempt runs."""
        self.world.collect_garbage(_within(faults, GC))

    @precondition(lambda self: hasattr(self, "world") and self.document())
    @rule(faults=faults(1))
    def remove_run(self, faults: list[Fault]) -> None:
        """Remove the published run, while no attempt runs. Its results stay until gc removes them."""
        self.was_published = False
        self.is_removed_partly = self.world.remove_run(_within(faults, RM)) is not End.DONE

    @precondition(lambda self: self.damageable())
    @rule(number=st.integers(0, 10**6), is_cut=st.booleans())
    def damage(self, number: int, is_cut: bool) -> None:
        """Cut a stored file short, or flip one bit of it."""
        paths = self.damageable()
        path = paths[number % len(paths)]
        data = bytearray(self.world.objects.data[path])
        place = number % len(data)
        data[place] ^= 1 << number % 8
        self.world.objects.data[path] = bytes(data[:place] if is_cut else data)
        self.damaged[path] = self.world.objects.data[path]

    @invariant()
    def readers_see_all_or_nothing(self) -> None:
        """A published run is whole; of an unpublished one, tables hold at most files that are certain to be published."""
        data, document = self.world.objects.data, self.document()
        assert document or not self.was_published, "a published run has gone"
        self.was_published = document is not None
        certain = document or self.read(f"runs/{RUN}/claim.json")
        parts = (
            {part["path"]: part["sha256"] for files in certain["tables"].values() for part in files} if certain else {}
        )
        assert document or not self.below("tables/runs/"), "a row in `runs` without a published run"
        if self.is_removed_partly and not document:  # its row goes first, and readers of folders join with that
            return
        visible = {
            path: content for path, content in self.below("tables/").items() if not path.startswith("tables/runs/")
        }
        assert visible.keys() <= parts.keys(), "readers of folders see files that may never be published"
        for path, digest in parts.items():
            if f"bucket/{path}" not in self.damaged and (document or path in visible):
                assert path in visible, f"{path} is missing"
                assert hashlib.sha256(data[f"bucket/{path}"]).hexdigest() == digest, f"{path} has other bytes"

    @invariant()
    def results_are_those_of_the_calm_run(self) -> None:
        """A result is named by all that it depends on, so it has the same bytes whoever writes it."""
        for path, content in self.below("shards/").items():
            if content != self.damaged.get(f"bucket/{path}"):  # or it was made again
                assert content == self.calm.get(path), f"{path} differs from that of an undisturbed run"

    def teardown(self) -> None:
        """Run the command once more, undisturbed."""
        if not hasattr(self, "world"):
            return
        self.injected.update(self.world.objects.injected)
        end = self.world.attempt()
        assert end is End.DONE, f"the last attempt, without a fault, {end}"
        assert _tables(self.below("tables/")) == _tables(self.calm), (
            "the tables differ from those of an undisturbed run"
        )
        problems = [problem for problem in verify.verify(Root(self.world.url), RUN) if problem.damage]
        assert not problems, f"verify finds {problems}"
        waiting = [*self.below(f"runs/{RUN}/staged/"), *self.below(f"runs/{RUN}/claim.json")]
        assert not waiting, f"{waiting} still wait to be published"

    def document(self) -> dict[str, Any] | None:
        """The manifest of the run; None if it is not published."""
        return self.read(f"runs/{RUN}/manifest.json")

    def read(self, path: str) -> dict[str, Any] | None:
        """A JSON file; None if it does not exist."""
        data = self.world.objects.data.get(f"bucket/{path}")
        return None if data is None else json.loads(data)

    def below(self, prefix: str) -> dict[str, bytes]:
        """The files below a folder of the root."""
        return _below(self.world, prefix)

    def damageable(self) -> list[str]:
        """The files that may be damaged: results, and published tables."""
        if not hasattr(self, "world"):
            return []
        names = [*self.below("shards/"), *(self.below("tables/") if self.document() else ())]
        whole = (f"bucket/{name}" for name in sorted(names) if not name.startswith("tables/runs/"))
        return [path for path in whole if path not in self.damaged]


def _tables(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of tables, but for the row of `runs`, which has times."""
    return {path: data for path, data in files.items() if path.startswith("tables/") and "/runs/" not in path}


def make_corpus(folder: Path) -> Path:
    """Photos, one of them twice, and a file that is not an image."""
    corpora.photos(folder, range(14))
    corpora.broken(folder)
    (folder / "again.png").write_bytes((folder / "class0" / "003.png").read_bytes())
    return folder


def _within(faults: list[Fault], operations: int) -> list[Fault]:
    """The faults at operations of something that takes so many."""
    return [replace(fault, at=fault.at * operations // ALL) for fault in faults]


@cache
def undisturbed(corpus: Path, shard: int) -> World:
    """A world with one undisturbed attempt."""
    world = World(corpus, shard, f"calm{shard}")
    assert world.attempt() is End.DONE
    return world


def calm(corpus: Path, shard: int) -> dict[str, bytes]:
    """The files of an undisturbed run."""
    return _below(undisturbed(corpus, shard), "")


def operations(corpus: Path, shard: int) -> int:
    """The number of operations of an undisturbed attempt."""
    return len(undisturbed(corpus, shard).trace)


def _below(world: World, prefix: str) -> dict[str, bytes]:
    bucket = world.url.removeprefix("simulated://")
    return {
        path.removeprefix(f"{bucket}/"): data
        for path, data in world.objects.data.items()
        if path.startswith(f"{bucket}/{prefix}")
    }


def live(corpus: Path, number: int, lives: int, *, shrink: bool = True) -> None:
    """Live some lives; the same number gives the same lives.

    Raises:
        Exception: an invariant broke; Hypothesis prints the life in which it does, if `shrink` the shortest one that it finds.
    """
    Life.corpus = corpus
    checked = settings(
        max_examples=lives,
        stateful_step_count=8,
        derandomize=False,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    run_state_machine_as_test(seed(number)(Life), settings=checked)
