"""The atlas over HTTP: pages and JSON twins, pictures that stay, words of users as text, a page for what is not there."""

import io
import re
from html import escape

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.atlas.atlas import Atlas
from service.http import app as web
from service.http.guards import GUARDS
from service.query import scans
from tests.support.asking import OPEN, atlas_of, client_of
from tests.support.published import CHANNELS, DEAD, publish
from workers.store.root import Root

LINK = re.compile(r'(?:href|src)="(/[^"]*)"')
HOSTILE = "<img src=x onerror=alert(1)>\"'../../../etc/passwd\n\u202e" + "a" * 300


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Root:
    root = Root(str(tmp_path_factory.mktemp("root")))
    publish(root)
    publish(root, "second", "2026-11-24T02:00:00+00:00")
    return root


@pytest.fixture(scope="module")
def client(root) -> TestClient:
    return atlas_of(root)


PAGES = [
    "/",
    "/runs/first",
    "/runs/first/layers/relu1",
    "/runs/first/layers/relu2?show=projection&sort=max",
    "/runs/first/layers/relu1/channels/3",
    f"/runs/first/layers/relu1/channels/{DEAD}",
    "/compare?a=first&b=second&layer=relu2",
    "/search?q=relu",
]


def test_every_page_links_only_to_what_is_there_and_has_its_data_at_the_same_path(client):
    """All that can be reached from the list of runs: pages, pictures, styles; each of them answers."""
    seen, waiting = set(PAGES), list(PAGES)
    while waiting:
        path = waiting.pop(0)
        answer = client.get(path)
        assert answer.status_code == 200, path
        if not answer.headers["content-type"].startswith("text/html") or path.startswith("/static"):
            continue
        head, _, asked = path.partition("?")
        twin = client.get(("/index" if head == "/" else head) + ".json" + (f"?{asked}" if asked else ""))
        assert twin.status_code == 200 and twin.json()["kind"], path
        found = {link.replace("&amp;", "&") for link in LINK.findall(answer.text)}
        fresh = [link for link in sorted(found) if link not in seen][: 500 - len(seen)]
        seen |= set(fresh)
        waiting += fresh
    assert {"/runs/second", "/static/atlas.css", "/limits"} <= seen


def test_pictures_are_pictures_and_stay_for_ever_where_their_address_has_the_runs_mark(client):
    cover = client.get("/index.json").json()["groups"][0]["cover"]
    mark = client.get("/runs/first/layers/relu2/channels/1.json").json()["cells"][0]["patch"].partition("?")[2]
    for path in ("wall/patch", "wall/projection", "0/patch", "8/projection", "0/patch/exact"):
        unmarked, answer = (
            client.get(f"/runs/first/layers/relu2/channels/1/{path}{query}") for query in ("", f"?{mark}")
        )
        assert "immutable" in answer.headers["cache-control"] and unmarked.headers["cache-control"] == "no-cache"
        with Image.open(io.BytesIO(answer.content)) as opened:
            assert min(opened.size) > 20
            assert answer.headers["content-type"] == f"image/{opened.format.lower()}"
    assert "immutable" in client.get(cover).headers["cache-control"]


def test_a_wall_can_be_sorted_and_holds_every_channel(client):
    for sort in ("channel", "max", "mean", "active_share", "purity", "dead"):
        told = client.get(f"/runs/first/layers/relu1.json?sort={sort}").json()["channels"]
        assert sorted(each["channel"] for each in told) == list(range(CHANNELS["relu1"]))
        values = [float(each[sort]) for each in told]
        assert values == sorted(values, reverse=sort != "channel")


def test_a_channels_page_says_what_the_queries_say(client, root):
    told = client.get("/runs/first/layers/relu1/channels/3.json").json()
    run = Atlas(root).run("first")
    rows = scans.top(run, "relu1", 3)
    assert [(cell["rank"], cell["image_id"], cell["score"]) for cell in told["cells"]] == [
        (row.rank, row.image_id, pytest.approx(row.score)) for row in rows
    ]
    assert sum(each["images"] for each in told["histogram"]) == told["statistics"]["images"]
    assert sum(bar["images"] for bar in told["bars"]) == told["statistics"]["images"]


def test_neighbours_are_those_that_share_top_images(root):
    atlas = Atlas(root)
    run = atlas.run("first")
    tables = atlas.layer(run, "relu1")
    mine = {row.image_index for row in tables.rows(0)}
    for each in tables.neighbours(0):
        assert each.shared == sum(row.image_index in mine for row in tables.rows(each.channel)) > 0
    counts = [each.shared for each in tables.neighbours(0)]
    assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/runs/nothing", "is not published"),
        ("/runs/..%2f..%2fetc", None),
        ("/runs/First", "is not a valid run id"),
        ("/runs/first/layers/relu9", "has no layer"),
        ("/runs/first/layers/relu1/channels/999", "no channel 999"),
        ("/runs/first/layers/relu1/channels/20/wall/patch", "no channel 20"),
        ("/runs/first/layers/relu1/channels/1/9/patch", "no rank 9"),
        ("/runs/first/layers/relu1/channels/one", "is not a whole number (0 or more)"),
        ("/runs/first/layers/relu1?sort=colour", "cannot be sorted"),
        ("/runs/first/image?id=nothing.jpg", "no image"),
        ("/compare?a=first", "is not a valid run id"),
    ],
)
def test_what_is_not_there_is_a_page_of_its_own(client, path, told):
    answer = client.get(path)
    assert answer.status_code == 404
    if told:
        assert told in answer.text
        if path.endswith("/patch"):
            return
        head, _, asked = path.partition("?")
        twin = client.get(f"{head}.json" + (f"?{asked}" if asked else ""))
        assert twin.status_code == 404 and told in twin.json()["error"]


def test_words_of_the_user_are_shown_as_text_and_scripts_only_come_from_the_package(client):
    answer = client.get("/search", params={"q": HOSTILE})
    assert answer.status_code == 200
    assert "<img src=x" not in answer.text and escape("<img src=x") in answer.text
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self'" in policy and "unsafe" not in policy
    assert not re.findall(r"<script(?![^>]*src=)", answer.text) and "style=" not in answer.text
    assert client.get("/runs/first/image", params={"id": HOSTILE}).status_code == 404


@pytest.mark.parametrize(
    "path", [f"/runs/first/previews/{1 << 63}", f"/runs/first/rows/{1 << 70}/patch", f"/search?q=relu1%20{'9' * 900}"]
)
def test_numbers_beyond_all_bounds_are_answered(client, path):
    assert client.get(path).status_code in (200, 404)
    assert client.get("/search", params={"q": "x" * 2000}).status_code == 404


def test_what_breaks_is_said_without_its_inside_and_under_the_same_guards(root, monkeypatch):
    app = web.create(root, rules=OPEN)
    monkeypatch.setattr("service.atlas.pages.home.runs", lambda *_: 1 / 0)
    answer = client_of(app, raise_server_exceptions=False).get("/")
    assert answer.status_code == 500 and "division" not in answer.text
    assert GUARDS.items() <= {key.title().replace("Nosniff", "nosniff"): v for key, v in answer.headers.items()}.items()


def test_a_run_says_all_that_it_was_asked_to_do(client):
    text = client.get("/runs/first").text
    assert "max reject share" in text and "0.05" in text
    assert client.get("/runs/first.json").json()["run"]["spec"]["scan"]["k"] == 9


def test_a_damaged_manifest_is_told_of_and_leaves_the_others_alone(tmp_path):
    root = Root(str(tmp_path))
    publish(root)
    root.put("runs/bad/manifest.json", b'{"version": 99}')
    client = atlas_of(root)
    front = client.get("/")
    assert front.status_code == 200 and "/runs/first" in front.text and "has version 99" in front.text
    assert client.get("/search?q=relu").status_code == 200
    assert client.get("/runs/first/image?id=cat1/003.png").status_code == 200
    assert client.get("/runs/bad").status_code == 500


def test_a_run_that_is_published_again_has_other_pictures(tmp_path):
    links = []
    for created in ("2026-11-23T02:00:00+00:00", "2026-11-24T02:00:00+00:00"):
        root = Root(str(tmp_path / created[:10]))
        publish(root, created=created)
        links.append(atlas_of(root).get("/runs/first/layers/relu1.json").json()["channels"][0]["picture"])
    assert links[0] != links[1] and links[0].partition("?")[0] == links[1].partition("?")[0]


def test_many_images_of_a_channel_are_nine_on_its_page_and_all_in_its_table(tmp_path):
    root = Root(str(tmp_path))
    publish(root, k=12)
    client = atlas_of(root)
    page = client.get("/runs/first/layers/relu1/channels/3.json").json()
    assert (len(page["cells"]), len(page["rows"])) == (9, 12)
    with Image.open(
        io.BytesIO(client.get(page["channel"] and "/runs/first/layers/relu1/channels/3/wall/patch").content)
    ) as wall:
        assert abs(wall.width - wall.height) <= 1
    assert client.get("/runs/first/layers/relu1/channels/3/9/patch").status_code == 404


def test_no_page_asks_another_host(client):
    for path in PAGES:
        assert not re.findall(r'(?:href|src|action)="(?:https?:)?//', client.get(path).text)
