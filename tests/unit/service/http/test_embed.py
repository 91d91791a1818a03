"""Cards of channels: only where the operator wants them, only in frames of the sites that were named, and complete."""

import json
import re
from html.parser import HTMLParser

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from service.atlas import render
from service.cli.main import app
from service.http import app as web
from service.http import exporting
from service.http.prefix import Prefixed
from tests.support.asking import OPEN
from tests.support.published import DEAD, K, publish
from tests.unit.service.http.test_site import targets
from workers.store.root import Root

CHANNEL = "/runs/first/layers/relu1/channels/3"
SITES = ("https://blog.example", "https://*.example.org:8443")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Root:
    root = Root(str(tmp_path_factory.mktemp("root")))
    publish(root)
    return root


def client(root: Root, *sites: str) -> TestClient:
    return TestClient(web.create(root, rules=OPEN, embed=sites), base_url="http://127.0.0.1")


def ancestors(answer) -> str:
    return re.search(r"frame-ancestors (.*)$", answer.headers["content-security-policy"])[1]


def test_without_a_site_there_are_no_cards(root):
    asked = client(root)
    assert asked.get(f"/embed{CHANNEL}").status_code == 404
    assert "/embed/" not in asked.get(CHANNEL).text


def test_only_cards_may_be_shown_in_frames_and_only_of_the_named_sites(root):
    asked = client(root, *SITES)
    assert ancestors(asked.get(f"/embed{CHANNEL}")) == " ".join(SITES)
    others = ("/", "/runs/first", "/embed", f"/runs/..%2Fembed{CHANNEL}", "/embed/nothing", f"/embed{CHANNEL}9")
    for path in (CHANNEL, *others, "/embed/runs/none/layers/x/channels/1", f"/embed{CHANNEL}x"):
        assert ancestors(asked.get(path)) == "'none'"
    assert f'src="http://127.0.0.1/embed{CHANNEL}"' in asked.get(CHANNEL).text.replace("&#34;", '"')


def test_a_card_shows_the_channels_pictures_and_leads_to_its_page(root):
    asked = client(root, "*")
    html, data = asked.get(f"/embed{CHANNEL}").text, asked.get(f"/embed{CHANNEL}.json").json()
    pictures = re.findall(r'<img src="([^"]*)"', html)
    assert len(pictures) == 2 * K
    assert all(asked.get(picture).headers["content-type"].startswith("image/") for picture in pictures)
    assert f'href="{CHANNEL}" target="_blank"' in html
    assert (data["label"], data["images"], data["active"]) == ("cat", K, K) and f"{K} of its {K} top images" in html
    dead = asked.get(f"/embed{CHANNEL[:-1]}{DEAD}").text
    assert "No image activates this channel." in dead and "<img" not in dead
    assert "What the pictures" not in html and data["says"][1] in html
    assert asked.get("/embed/runs/first/layers/relu1/channels/99").status_code == 404


def test_below_a_path_the_card_links_below_it_too(root):
    below = TestClient(Prefixed(web.create(root, rules=OPEN, embed=["*"]), "/team"), base_url="http://127.0.0.1")
    answer = below.get(f"/embed{CHANNEL}")
    links = re.findall(r'(?:href|src)="(/[^"]*)"', answer.text)
    assert links and all(link.startswith("/team/") for link in links) and ancestors(answer) == "*"


@pytest.mark.parametrize(
    "site", ["blog.example", "https://blog.example/path", "javascript:alert(1)", "'self'", "https://a b", ""]
)
def test_what_is_not_a_site_is_refused_in_one_line(root, site):
    done = CliRunner().invoke(app, ["serve", "--root", root.url, "--port", "0", "--embed", site])
    assert done.exit_code == 2 and "is not a site" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_written_site_has_cards_when_asked_for(root, tmp_path):
    done = CliRunner().invoke(
        app, ["export", "first", "--root", root.url, "--top", "2", "--embed", "-o", str(tmp_path / "site"), "--json"]
    )
    assert done.exit_code == 0, done.output
    pages = json.loads(done.stdout)["pages"]
    linked = [path.relative_to(tmp_path / "site").as_posix() for path in targets(tmp_path / "site")]
    cards = {path.removeprefix("embed/") for path in linked if path.startswith("embed/")}
    assert cards == {path for path in linked if re.fullmatch(r"runs/first/layers/\w+/channels/\d+/index.html", path)}
    assert len(cards) > 4
    assert pages == len(list((tmp_path / "site").rglob("*.html")))
    exporting.site(root, ["first"], top=2).write(tmp_path / "plain")
    assert not [path for path in targets(tmp_path / "plain") if "/embed/" in str(path)]


def test_the_html_to_copy_is_one_frame_whatever_a_layer_is_called():
    html = render.frame("http://x/embed/a", 'channel 3 of a" onload="alert(1)')
    [(tag, attributes)] = Tags.of(html)
    assert tag == "iframe" and attributes["title"] == 'channel 3 of a" onload="alert(1)' and "onload" not in attributes


class Tags(HTMLParser):
    """The tags of a text, with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    @classmethod
    def of(cls, html: str) -> list[tuple[str, dict[str, str | None]]]:
        parser = cls()
        parser.feed(html)
        return parser.tags
