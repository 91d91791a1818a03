"""Pages are typed values: each twin is as docs/pages.json describes it, and a template that names what a page lacks fails."""

import json
import re
from dataclasses import FrozenInstanceError
from html import unescape
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from jinja2 import StrictUndefined, UndefinedError
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from service.atlas import render
from service.atlas.atlas import Atlas
from service.atlas.instruments.registry import INSTRUMENTS
from service.atlas.pages import scans, schema
from service.atlas.pages.plain import ErrorPage, LimitsPage
from service.http import app as web
from service.query.findings import TABLE_OF
from tests.support import instrumented
from tests.support.asking import app_of, client_of
from tests.support.clusters import SPEC
from tests.support.published import publish
from tests.unit.service.atlas.test_hostile import NAMED
from workers.store.attempts import Attempts, Progress
from workers.store.root import Root

DESCRIBED = json.loads((Path(__file__).parents[4] / "docs" / "pages.json").read_text())
MORE = re.compile(r"/(channels|rows)/([3-9]|\d\d)|/previews/")  # like those before them
LINK = re.compile(r'href="(/[^"]*)"')
STARTS = [
    "/",
    "/nothing",
    "/runs/first/layers/relu1?sort=dead&only=dead&show=projection",
    "/runs/first/layers/relu2?at_least=1.5&at_most=30&sort=max&label=cat",
    "/compare?a=first&b=second&sort=overlap",
    "/compare?a=first&b=second&match=overlap",
    "/compare?a=first&b=hostile",
    "/search?q=cat",
    "/search?q=nothing of that name",
    "/runs/moved?start=8",
    "/runs/flowers",
    "/runs/trees",
    "/limits",
]


@pytest.fixture
def client(tmp_path, cluster, clock) -> TestClient:
    """A service whose root has a run of each kind, one with bad names, one whose manifest is damaged, and two that go on."""
    root = Root(str(tmp_path))
    publish(root)
    publish(root, "second", "2026-11-24T02:00:00+00:00", k=12)
    publish(root, "hostile", named=NAMED)
    for kind in TABLE_OF:
        getattr(instrumented, kind)(root)
    instrumented.sanity(root, "dark", dark=True)
    root.put("runs/bad/manifest.json", b'{"version": 99}')
    client = client_of(app_of(root, cluster, clock))
    for run in ("flowers", "trees"):
        client.post("/api/v1/runs", json={"job": "scan", "spec": {"run": run, **SPEC}})
    at = clock().isoformat()
    Attempts(root, "trees").report_progress(
        1, Progress(at, "scan", 3, 10, "images", {"damaged": 1}, 1.5, 4.0, {"decode": 0.5})
    )
    return client


def described_at(path: str) -> str:
    """The path under which a twin is described; the first that fits, as in the application."""
    patterns = {twin: re.sub(r"\\{\w+\\}", "[^/]+", re.escape(twin)) for twin in DESCRIBED["paths"]}
    return next(twin for twin, pattern in patterns.items() if re.fullmatch(pattern, path.partition("?")[0]))


def twins(client: TestClient) -> dict[str, dict[str, object]]:
    """The data of every page that can be reached, by path; of channels and rows of one kind a few."""
    seen, waiting, found = set(STARTS), list(STARTS), {}
    while waiting:
        head, _, query = waiting.pop(0).partition("?")
        asked = f"?{query}" if query else ""
        page = client.get(head + asked)
        if not page.headers["content-type"].startswith("text/html"):
            continue  # a picture
        found[schema.twin(head) + asked] = client.get(schema.twin(head) + asked).json()
        links = {unescape(link).partition("#")[0] for link in LINK.findall(page.text)}
        pages = (link for link in links if not link.startswith("/static") and ".json" not in link)
        fresh = sorted(link for link in pages if link not in seen and not MORE.search(link))
        seen |= set(fresh)
        waiting += fresh
    return found


def test_the_published_schema_is_the_pages_own():
    """`python -m tests.support.openapi` writes it anew."""
    assert json.loads(json.dumps(schema.described())) == DESCRIBED
    Draft202012Validator.check_schema(DESCRIBED)


def test_every_twin_is_as_the_published_schema_describes_its_kind(client):
    kinds = set()
    for path, data in twins(client).items():
        kind = data["kind"]
        kinds.add(kind)
        Draft202012Validator({"$defs": DESCRIBED["$defs"], **DESCRIBED["kinds"][kind]}).validate(data)
        assert kind in DESCRIBED["paths"][schema.ANY if kind == "error" else described_at(path)], path
    assert kinds == DESCRIBED["kinds"].keys()


def test_a_schema_leaves_open_only_what_users_write():
    """A spec and the settings of an inversion hold anything that JSON holds; every other field has a type."""

    def open_(node: object, name: str = "") -> list[str]:
        if isinstance(node, list):
            return [each for one in node for each in open_(one, name)]
        if not isinstance(node, dict):
            return []
        own = [name] if node == {} or node.get("additionalProperties") in ({}, True) else []
        return own + [each for key, one in node.items() if key != "description" for each in open_(one, key)]

    assert set(open_(DESCRIBED["kinds"]) + open_(DESCRIBED["$defs"])) <= {
        "spec",
        "settings",
        "JsonValue",
        "additionalProperties",
    }


def test_the_columns_of_a_table_are_described_where_its_rows_are_shown():
    found = DESCRIBED["$defs"]["OcclusionPage"]["properties"]["found"]
    assert "activation_map" in found["required"] and found["properties"]["activation"]["description"]
    assert found["properties"]["pictures"] and "panel_image" not in found["properties"]


def test_every_page_that_is_served_has_a_schema_and_a_template(client):
    paths = {path for path in schema.PAGES if path != schema.ANY}
    served = {route.path for route in client.app.routes}
    assert {path for path in served if path.endswith(".json")} == {schema.twin(path) for path in paths} | {web.OPENAPI}
    assert paths <= served
    for pages in schema.PAGES.values():
        for page in pages:
            assert (render.WEB / "templates" / f"{schema.kind_of(page)}.html").exists()
    assert INSTRUMENTS.keys() == TABLE_OF.keys()


def test_a_page_is_frozen_and_has_no_field_that_it_does_not_declare(tmp_path):
    root = Root(str(tmp_path))
    publish(root)
    page = scans.channel(Atlas(root), "first", "relu1", 3, scans.Look())
    for value in (page, page.run, page.layer, page.cells[0]):
        with pytest.raises((ValidationError, FrozenInstanceError), match=r"frozen|cannot assign"):
            setattr(value, next(iter(vars(value))), 1)
    with pytest.raises(ValidationError, match="Extra inputs"):
        LimitsPage.model_validate({"title": "limits", "text": "none"})


def test_a_template_that_names_what_a_page_lacks_fails():
    assert render.templates.undefined is StrictUndefined
    with pytest.raises(UndefinedError, match="has no attribute 'under_way'"):
        render.page("runs.html", page=ErrorPage(title="none", error="none"), twin="/none.json", site="")
