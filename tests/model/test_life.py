"""Runs in a simulated world: whatever fails, readers see all or nothing, and the same command ends in the same bytes."""

import os
from pathlib import Path

import pytest

from tests.model.life import live
from tests.support import corpora

LIVES = 10  # for each number
NUMBERS = int(os.environ.get("DECONVOY_TEST_LIVES", "1000")) // LIVES


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """Photos, one of them twice, and a file that is none."""
    folder = tmp_path_factory.mktemp("photos")
    corpora.photos(folder, range(14))
    corpora.broken(folder)
    (folder / "again.png").write_bytes((folder / "class0" / "003.png").read_bytes())
    return folder


@pytest.mark.parametrize("number", range(2))
def test_lives(corpus, number):
    live(corpus, number, LIVES)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("number", range(2, NUMBERS))
def test_many_lives(corpus, number):
    live(corpus, number, LIVES)
