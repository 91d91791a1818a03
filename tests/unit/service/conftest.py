"""Fixtures of the service's tests. Takes nothing, gives a cluster that only remembers."""

import pytest

from tests.support.clusters import FakeCluster


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()
