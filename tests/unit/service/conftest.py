"""Fixtures of the service's tests. Takes nothing, gives an empty root, a cluster that only remembers, and a time."""

from datetime import UTC, datetime

import pytest

from tests.support.clusters import Clock, FakeCluster
from workers.store.root import Root


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2026, 11, 26, tzinfo=UTC))
