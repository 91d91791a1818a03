"""Requests made up from the API's own description: no answer is an error of the server's, and each is as described."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from service.http.keys import Keys, Scope
from tests.support.asking import app_of
from tests.support.clusters import Clock, FakeCluster
from tests.support.published import publish
from workers.store.root import Root

DESCRIBED = json.loads((Path(__file__).parents[4] / "docs" / "openapi.json").read_text())
OPERATIONS = [(path, method) for path, methods in DESCRIBED["paths"].items() for method in methods]
# A spec is an object here and is checked further in, where every mistake is told; a run may not be there, or not be live.
DEEPER = [positive_data_acceptance]
KEYLESS = [ignored_auth]  # a root without keys answers this machine without one


@pytest.fixture
def root(tmp_path) -> Root:
    root = Root(str(tmp_path))
    publish(root)
    return root


def asked(root: Root, path: str, method: str, headers: dict[str, str], examples: int, excluded: list[Any]) -> None:
    described = schemathesis.openapi.from_asgi(
        "/api/v1/openapi.json", app_of(root, FakeCluster(), Clock(datetime(2026, 11, 26, tzinfo=UTC))), headers=headers
    )

    @given(case=described[path][method.upper()].as_strategy())
    @settings(max_examples=examples, suppress_health_check=list(HealthCheck), deadline=None, derandomize=True)
    def ask(case):
        case.call_and_validate(headers=headers, excluded_checks=DEEPER + excluded)

    ask()


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_whatever_is_asked_is_answered_as_described(root, path, method):
    asked(root, path, method, {"host": "localhost"}, 25, KEYLESS)


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_whatever_is_asked_with_a_key_is_answered_as_described(root, path, method, scope):
    key = Keys(root).add("made up", scope)
    asked(root, path, method, {"host": "atlas.example", "Authorization": f"Bearer {key}"}, 5, [])
