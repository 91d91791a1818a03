"""Scopes of routes: each declares one, a route without one does not start, and the description says which key each needs."""

import json
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.routing import Mount

from service.http import app as web
from service.http import health, scopes
from service.http.keys import Scope
from service.http.scopes import ADMIN, OPEN, READ, SUBMIT
from tests.support.asking import app_of

DESCRIBED = json.loads((Path(__file__).parents[4] / "docs" / "openapi.json").read_text())
OPERATIONS = [(path, method) for path, methods in DESCRIBED["paths"].items() for method in methods]


def toy() -> str:
    return "toy"


@pytest.mark.parametrize("declared", [[], [READ, ADMIN]])
def test_an_application_with_a_route_that_declares_no_scope_or_two_does_not_start(root, monkeypatch, declared):
    add_to = health.add_to

    def with_toy(app, *rest):
        app.add_api_route("/toy", toy, dependencies=declared)
        add_to(app, *rest)

    monkeypatch.setattr(health, "add_to", with_toy)
    with pytest.raises(TypeError, match=f"route /toy declares {len(declared)} scopes"):
        web.create(root)


def test_a_mounted_application_without_a_scope_does_not_start(root, monkeypatch):
    monkeypatch.setattr(health, "add_to", lambda app, *_: app.router.routes.append(Mount("/toy", Starlette())))
    with pytest.raises(TypeError, match="route /toy declares 0 scopes"):
        web.create(root)


def test_a_route_that_is_added_later_without_a_scope_is_not_answered(root, cluster, clock):
    app = app_of(root, cluster, clock)
    app.add_api_route("/toy", toy)
    client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
    assert client.get("/toy").status_code == 500


def test_a_route_that_is_served_without_the_gate_answers_only_if_it_is_open():
    app = FastAPI()
    for path, scope in {"/read": READ, "/submit": SUBMIT, "/admin": ADMIN, "/open": OPEN}.items():
        app.add_api_route(path, toy, dependencies=[scope])
    client = TestClient(app)
    assert [client.get(path).status_code for path in ("/read", "/submit", "/admin", "/open")] == [401, 401, 401, 200]


def test_every_route_declares_the_scope_that_its_method_suggests(root, cluster, clock):
    """To look needs READ; to change something SUBMIT, or ADMIN where it changes schedules."""
    for route in app_of(root, cluster, clock).routes:
        scope, path = scopes.declared_scope(route), getattr(route, "path", "")
        if path in ("/healthz", "/readyz"):
            assert scope is None
        elif getattr(route, "methods", None) is None or getattr(route, "methods", set()) <= {"GET", "HEAD"}:
            assert scope is Scope.READ, path
        else:
            assert scope is (Scope.ADMIN if path.startswith("/api/v1/schedules") else Scope.SUBMIT), path


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/static/atlas.css", Scope.READ),
        ("GET", "/metrics", Scope.READ),
        ("GET", "/api/v1/openapi.json", Scope.READ),
        ("GET", "/nothing", Scope.READ),
        ("HEAD", "/api/v1/schedules", Scope.READ),
        ("POST", "/nothing", Scope.SUBMIT),
        ("POST", "/runs/first", Scope.SUBMIT),
        ("PUT", "/api/v1/schedules", Scope.ADMIN),
        ("DELETE", "/api/v1/schedules/nightly/fires", Scope.ADMIN),
        ("GET", "/healthz", None),
        ("POST", "/readyz", None),
    ],
)
def test_a_request_that_no_route_answers_needs_no_less_than_one_that_is_answered(
    root, cluster, clock, method, path, scope
):
    asked = {"type": "http", "method": method, "path": path, "headers": []}
    assert scopes.needed_scope(app_of(root, cluster, clock).routes, asked) is scope


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_the_description_says_which_key_an_operation_needs(root, cluster, clock, path, method):
    [[scope]] = {tuple(needed) for each in DESCRIBED["paths"][path][method]["security"] for needed in each.values()}
    asked = {"type": "http", "method": method.upper(), "path": path.replace("{what}", "pause"), "headers": []}
    assert scope == scopes.needed_scope(app_of(root, cluster, clock).routes, asked)
    assert {"bearer", "basic"} == DESCRIBED["components"]["securitySchemes"].keys()
