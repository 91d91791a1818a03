"""Fixtures of tests on a local Ray. Takes nothing, gives a Ray with two CPUs for a module's tests."""

from collections.abc import Iterator

import pytest
import ray


@pytest.fixture(scope="module")
def two_cpus() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
