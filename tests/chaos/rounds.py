"""Rounds of chaos: one run on a real Ray cluster while its processes and its store fail. Takes a number, gives what happened.

The same number gives the same faults at the same seconds; what they hit depends on the machine.
"""

import os
import random
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest

from tests.chaos.cluster import ThreeNodes
from tests.chaos.drivers import MUTATION
from tests.chaos.faults import FAULTS
from tests.chaos.mutations import MUTATIONS
from tests.chaos.replaying import RECORD
from tests.chaos.scene import Broken, Due, Round, Scene
from tests.support import failing_store
from workers.host.retrying import PATIENCE

REPOSITORY = Path(__file__).parents[2]
SPEC = """
run = "one"
root = "failing://{root}"
[model]
source = "deconvoy://zfnet-mini"
[corpus]
source = "{corpus}"
[scan]
layers = ["relu1"]
batch = 4
shard = 4
k = 3
max_reject_share = 0.5
[resources]
device = "cpu"
"""
SPAN_S = 10.0  # faults come in so many seconds
MOST_FAULTS = 4
NOISY = 4  # every so many blocks of numbers, calls between Ray's processes fail
BLOCK = 5  # numbers of a block
DELAY_S = 0.02  # of every operation of the store, so that a run lasts some seconds
STORE_PATIENCE_S = 20
NOTHING: Mapping[str, str] = {}


def drawn(number: int) -> list[Due]:
    """The faults of a round."""
    choose = random.Random(number)
    names, weights = list(FAULTS), [weight for weight, _ in FAULTS.values()]
    times = sorted(choose.uniform(0.0, SPAN_S) for _ in range(choose.randint(1, MOST_FAULTS)))
    chosen = choose.choices(names, weights, k=len(times))
    return [(at, name, choose.random()) for at, name in zip(times, chosen, strict=True)]


class Chaos:
    """A cluster, a corpus, and the tables of the run that nothing disturbed.

    Args:
        folder: for everything.
        corpus: folder of images.
        replays: whether actors only compute what no actor has computed before; see `tests.chaos.replaying`.
    """

    def __init__(self, folder: Path, corpus: Path, *, replays: bool = False) -> None:
        self._folder, self._corpus, self._stack = folder, corpus, ExitStack()
        self.cluster, self._calm = ThreeNodes(), dict[str, bytes]()
        self.control = folder / "control"
        environment = {
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "tests" / "support" / "failing"), str(REPOSITORY)]),
            failing_store.CONTROL: str(self.control),
            failing_store.DELAY_S: str(DELAY_S),
            PATIENCE: str(STORE_PATIENCE_S),
        }
        self._always = environment | ({RECORD: str(folder / "record")} if replays else {})
        patch = self._stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in environment.items():
            patch.setenv(name, value)

    def __enter__(self) -> Self:
        self._stack.enter_context(self.cluster)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def round(self, number: int) -> Round:
        """Run one round.

        Raises:
            Broken: a promise is broken; the message names it.
        """
        self.cluster.heal(failing_calls=number // BLOCK % NOISY == NOISY - 1)
        return self._play(Round(number), drawn(number))

    def meet(self, due: list[Due]) -> Round:
        """Run one round with these faults.

        Raises:
            Broken: a promise is broken; the message names it.
        """
        self.cluster.heal(failing_calls=False)
        return self._play(Round(-1), due)

    def show(self, mutation: str) -> str:
        """Run the command with a deliberate fault in it; returns the promise that it breaks.

        Raises:
            AssertionError: no promise breaks.
        """
        self.cluster.heal(failing_calls=False)
        _, faults = MUTATIONS[mutation]
        try:
            self._play(Round(-1), [(at, name, at) for at, name in faults], {MUTATION: mutation})
        except Broken as error:
            return str(error.__cause__ or error)
        raise AssertionError(f"{mutation}: no promise breaks")

    def _play(self, outcome: Round, due: list[Due], environment: Mapping[str, str] = NOTHING) -> Round:
        if not self._calm:
            self._calm = self._scene("calm", [], NOTHING).play(Round(-1))
        folder = self._folder / f"round{outcome.number}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            tables = self._scene(folder.name, due, environment).play(outcome)
            if tables != self._calm:
                raise Broken("the tables differ from those of an undisturbed run")
        except Broken as error:
            raise Broken(f"round {outcome.number}: {error}; {outcome}; see {folder}") from error
        shutil.rmtree(folder)
        return outcome

    def _scene(self, name: str, due: list[Due], environment: Mapping[str, str]) -> Scene:
        """A run in a folder of this name."""
        folder = self._folder / name
        folder.mkdir(parents=True)
        spec = folder / "spec.toml"
        spec.write_text(SPEC.format(root=folder / "root", corpus=self._corpus))
        return Scene(self.cluster, self.control, spec, due, {**self._always, **environment})
