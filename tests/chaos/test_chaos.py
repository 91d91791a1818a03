"""Rounds of chaos on a real Ray cluster: whatever is killed, the same command ends in the same bytes.

The quick rounds replay what actors compute, so that they start without torch.
"""

import os
from collections.abc import Iterator

import pytest

from tests.chaos.mutations import MUTATIONS
from tests.chaos.rounds import Chaos, drawn
from tests.model.life import make_corpus

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]
ROUNDS = int(os.environ.get("DECONVOY_TEST_ROUNDS", "1000"))
LONG = {"the head is lost", "an actor stops for good"}  # Deconvoy waits half a minute and more before it acts
QUICK = [number for number in range(ROUNDS) if not LONG & {name for _, name, _ in drawn(number)}][:20]


@pytest.fixture(scope="module")
def chaos(tmp_path_factory) -> Iterator[Chaos]:
    folder = tmp_path_factory.mktemp("chaos")
    with Chaos(folder, make_corpus(tmp_path_factory.mktemp("photos"))) as chaos:
        yield chaos


@pytest.fixture(scope="module")
def replayed(tmp_path_factory) -> Iterator[Chaos]:
    folder = tmp_path_factory.mktemp("replayed")
    with Chaos(folder, make_corpus(tmp_path_factory.mktemp("photos")), replays=True) as chaos:
        yield chaos


@pytest.mark.parametrize("number", QUICK)
def test_quick_rounds(replayed, number):
    assert replayed.round(number).ends["done"]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(ROUNDS))
def test_rounds(chaos, number):
    assert chaos.round(number).ends["done"]


@pytest.mark.slow
@pytest.mark.parametrize("pause", [0.1 * number for number in range(1, 13)])
def test_a_command_that_is_asked_to_end_twice_says_so_once(chaos, pause):
    stop = "the driver is ended by SIGTERM"
    ends = chaos.meet([(4.0, stop, 0.0), (4.0 + pause, stop, 0.0)]).ends
    assert ends["cancelled"] in {1, 2}  # two, if the second request reaches the next command
    assert ends["done"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_fault_in_the_pool_shows(chaos, mutation):
    assert "no driver has printed anything for 60 s" in chaos.show(mutation)
