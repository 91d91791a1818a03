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
