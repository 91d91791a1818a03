"""Fixtures for all tests. Takes the environment, gives the shared folder of real weights and photos or skips in one line."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = Path(os.environ.get("DECONVOY_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("no shared folder of weights and photos: set DECONVOY_SHARED")
    return folder / "data"
