"""How a module's tests run jobs: on a local Ray of two CPUs, or without Ray if they only look at results."""

from collections.abc import Iterator

import pytest
import ray

from tests.support.in_process import jobs_run_here


@pytest.fixture(scope="module")
def two_cpus() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def without_ray() -> Iterator[None]:
    with jobs_run_here():
        yield


@pytest.fixture
def measured() -> None:
    """For tests of the measurement of a dry run."""


@pytest.fixture(autouse=True)
def unmeasured(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dry runs measure nothing, which takes seconds, except in tests that use `measured`."""
    if "measured" not in request.fixturenames:
        monkeypatch.setattr("jobs.dry_run.measure", lambda *_: "not in this test")
