"""Below a path prefix every link stays below it, whether the proxy removes the prefix or not; only trusted proxies give one."""

import re

import pytest
from fastapi.testclient import TestClient
from starlette.types import ASGIApp

from service.control.schedules import Schedules
from service.control.submissions import Submissions
from service.http import app as web
from service.http import connections, prefix
from service.http.places import Allowed
from service.http.prefix import Prefixed
from tests.support.asking import OPEN
from tests.support.clusters import FakeCluster
from tests.support.published import publish
from workers.errors import UsageError
from workers.store.root import Root

LINK, ACTION = re.compile(r' (?:href|src)="([^"]*)"'), re.compile(r' (?:action|data-events|data-logs)="([^"]*)"')
BELOW = "/team/deconvoy"
PICTURE, DRAWN = (
    re.compile(r"/(patch|projection)(/exact)?\?"),
    100,
)  # pictures of channels, and how many of them are asked for


@pytest.fixture(scope="module")
def app(tmp_path_factory) -> ASGIApp:
    root = Root(str(tmp_path_factory.mktemp("root")))
    publish(root)
    publish(root, "second", "2026-11-24T02:00:00+00:00")
    return web.create(root, rules=OPEN)


def links(html: str) -> set[str]:
    return {link.replace("&amp;", "&") for link in LINK.findall(html)}


@pytest.mark.parametrize("is_removed", [True, False])
def test_all_that_can_be_reached_is_below_the_prefix(app, is_removed):
    client = TestClient(Prefixed(app, BELOW), base_url="http://localhost")
    waiting, seen, drawn, pages = [f"{BELOW}/"], set[str](), set[str](), 0
    while waiting:
        path = waiting.pop()
        answer = client.get(path.removeprefix(BELOW) if is_removed else path)
        assert answer.status_code == 200, path
        if answer.headers["content-type"].startswith("text/html"):
            pages += 1
            found = {link for link in links(answer.text) if not link.startswith("#")}
            assert not [link for link in found if not link.startswith(f"{BELOW}/")], path
            assert all(link.startswith(f"{BELOW}/") for link in ACTION.findall(answer.text)), path
            pictures = {link for link in found if PICTURE.search(link)}
            waiting += [link for link in found - seen if link not in pictures or len(drawn) < DRAWN]
            drawn |= pictures
            seen |= found
    assert pages > 100 and len(seen) > 200


def test_without_a_prefix_pages_are_as_they_are(app):
    plain = TestClient(app, base_url="http://localhost").get("/runs/first").text
    assert TestClient(Prefixed(app), base_url="http://localhost").get("/runs/first").text == plain
    below = TestClient(Prefixed(app, BELOW), base_url="http://localhost").get(f"{BELOW}/runs/first").text
    assert below.replace(BELOW, "") == plain != below


def test_a_path_that_only_begins_like_the_prefix_is_not_below_it(app):
    client = TestClient(Prefixed(app, "/deco"), base_url="http://localhost")
    assert client.get("/deconvoy/runs/first").status_code == 404
    assert client.get("/deco").status_code == 200
    assert client.get("/deco/nothing").status_code == 404


async def _redirecting(scope, receive, send):
    del scope, receive
    await send({"type": "http.response.start", "status": 307, "headers": [(b"location", b"/runs/a/previews/1?v=2")]})
    await send({"type": "http.response.body", "body": b""})


def test_a_redirect_stays_below_the_prefix():
    answer = TestClient(Prefixed(_redirecting, BELOW)).get(f"{BELOW}/runs/a/originals/1", follow_redirects=False)
    assert answer.headers["location"] == f"{BELOW}/runs/a/previews/1?v=2"


@pytest.mark.parametrize(
    ("trusted", "header", "expected"),
    [
        (["10.0.0.0/8"], BELOW, BELOW),
        (["10.0.0.0/8"], f"{BELOW}/", BELOW),
        (["192.168.0.0/16"], BELOW, ""),
        ([], BELOW, ""),
        (["10.0.0.0/8"], 'x"><script>', ""),
        (["10.0.0.0/8"], "//elsewhere.example", ""),
        (["10.0.0.0/8"], "/../up", ""),
        (["10.0.0.0/8"], "/runs", ""),
    ],
)
def test_the_header_of_a_trusted_proxy_is_a_prefix_if_it_is_a_path(app, trusted, header, expected):
    client = TestClient(Prefixed(app, "", trusted), base_url="http://localhost", client=("10.1.2.3", 5000))
    found = links(client.get("/", headers={"X-Forwarded-Prefix": header}).text)
    assert f"{expected}/runs/first" in found


def test_a_header_never_changes_which_path_is_asked_for(app):
    client = TestClient(Prefixed(app, "", ["10.0.0.0/8"]), base_url="http://localhost", client=("10.1.2.3", 5000))
    answer = client.get("/public/runs/first", headers={"X-Forwarded-Prefix": "/public"})
    assert answer.status_code == 404
    assert "x-forwarded-prefix" in client.get("/", headers={"X-Forwarded-Prefix": "/public"}).headers["vary"].lower()


def test_the_services_own_redirects_stay_below_the_prefix(app):
    client = TestClient(Prefixed(app, BELOW), base_url="http://localhost")
    answer = client.get(f"{BELOW}/runs/first/", follow_redirects=False)
    assert answer.status_code == 307 and answer.headers["location"] == f"http://localhost{BELOW}/runs/first"


def test_an_encoded_prefix_is_that_of_the_decoded_paths(app):
    client = TestClient(Prefixed(app, "/user/jo%40example.com"), base_url="http://localhost")
    page = client.get("/user/jo%40example.com/runs/first")
    assert page.status_code == 200 and "/user/jo%40example.com/runs/first" in links(page.text)


def test_a_given_prefix_wins_over_the_header(app):
    client = TestClient(Prefixed(app, "/mine", ["10.0.0.0/8"]), base_url="http://localhost", client=("10.1.2.3", 5000))
    assert "/mine/runs/first" in links(client.get("/mine/", headers={"X-Forwarded-Prefix": "/theirs"}).text)


@pytest.mark.parametrize(
    "text",
    [
        "deconvoy",
        "/a b",
        '/"',
        "//host",
        "/a/../b",
        "http://host/a",
        "/é",
        "/runs",
        "/static/x",
        "/a%2f",
        "/%2e%2e",
        "/a%5cb",
    ],
)
def test_what_is_no_path_is_one_line(text):
    with pytest.raises(UsageError, match="--root-path") as error:
        connections.config(_redirecting, (), text)
    assert "\n" not in str(error.value)


def test_only_links_to_this_service_get_the_prefix():
    page = '<a href="/runs">/runs</a> <a href="https://x.example/">x</a> <img alt="/runs" src="/p?a=/b"> <a href="//y">'
    new = '<a href="/z/runs">/runs</a> <a href="https://x.example/">x</a> <img alt="/runs" src="/z/p?a=/b"> <a href="//y">'
    assert prefix.add_to_links(page, "/z") == new


def test_pages_are_compressed_and_pictures_are_not(app):
    client = TestClient(app, base_url="http://localhost", headers={"Accept-Encoding": "gzip"})
    page = client.get("/runs/first/layers/relu1")
    assert page.headers["content-encoding"] == "gzip" and "accept-encoding" in page.headers["vary"].lower()
    [picture, *_] = [link for link in links(page.text) if "/wall/" in link]
    assert "content-encoding" not in client.get(picture).headers


def test_no_prefix_can_be_taken_for_a_path_of_the_service(tmp_path):
    submissions = Submissions(Root(str(tmp_path)), FakeCluster())
    control = web.Control(submissions, Schedules(Root(str(tmp_path)), submissions), Allowed(()))
    paths = [
        getattr(route, "path", "/") for route in web.create(Root(str(tmp_path)), control=control, embed=["*"]).routes
    ]
    assert {path.split("/")[1].partition(".")[0] for path in paths} == {"", *prefix.OWN}


def test_caches_know_that_pages_depend_on_the_header_even_without_it(app):
    client = TestClient(Prefixed(app, "", ["10.0.0.0/8"]), base_url="http://localhost", client=("10.1.2.3", 5000))
    assert "x-forwarded-prefix" in client.get("/").headers["vary"].lower()
    assert (
        "x-forwarded-prefix"
        not in TestClient(app, base_url="http://localhost").get("/").headers.get("vary", "").lower()
    )


def test_the_earlier_address_of_a_run_leads_to_the_new_one_below_the_prefix(app):
    client = TestClient(Prefixed(app, BELOW), base_url="http://localhost")
    answer = client.get(f"{BELOW}/submitted/first", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (308, f"{BELOW}/runs/first")
    assert client.get(f"{BELOW}/submitted/first").status_code == 200
