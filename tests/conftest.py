"""Fixtures for all tests. Takes the environment, gives the shared folder of real weights and photos or skips in one line."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:  # threads of tests that run side by side would wait for each other's
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")


@pytest.fixture(scope="module", autouse=True)
def _forget_memory() -> Generator[None, None, None]:
    """Empty the store of `memory://`, which all tests of a process share: each listing visits everything in it."""
    yield
    MemoryFileSystem.store.clear()


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = Path(os.environ.get("DECONVOY_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("no shared folder of weights and photos: set DECONVOY_SHARED")
    return folder / "data"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape what is not valid text in the captured output, such as hostile file names: a report is sent to another process."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report
