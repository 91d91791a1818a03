"""Requests made up from the API's own description: no answer is an error of the server's, and each is as described."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from service import app as web
from service.places import Allowed
from service.schedules import Schedules
from service.submissions import Submissions
from tests.support.clusters import Clock, FakeCluster
from tests.support.published import publish
from workers.store.root import Root

DESCRIBED = json.loads((Path(__file__).parents[3] / "docs" / "openapi.json").read_text())
OPERATIONS = [(path, method) for path, methods in DESCRIBED["paths"].items() for method in methods]
# A spec is an object here and is checked further in, where every mistake is told; a run may not be there, or not be live.
DEEPER = [positive_data_acceptance]
ENDLESS = "/api/v1/runs/{run}/events"


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    root = Root(str(tmp_path_factory.mktemp("root")))
    publish(root)
    submissions = Submissions(root, FakeCluster(), Clock(datetime(2026, 11, 26, tzinfo=UTC)))
    control = web.Control(submissions, Schedules(root, submissions), Allowed(("s3://bucket",)))
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", web.create(root, control=control))


@pytest.mark.parametrize(("path", "method"), [each for each in OPERATIONS if each[0] != ENDLESS])
def test_whatever_is_asked_is_answered_as_described(described, path, method):
    @given(case=described[path][method.upper()].as_strategy())
    @settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None, derandomize=True)
    def ask(case):
        case.call_and_validate(headers={"host": "localhost"}, excluded_checks=DEEPER)

    ask()
