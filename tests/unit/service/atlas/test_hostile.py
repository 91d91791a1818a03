"""Names that users give, as bad as can be: pages show them as text, their links lead back, and nothing leaves the root."""

from html import escape, unescape
from html.parser import HTMLParser
from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient

from service.atlas.atlas import Atlas
from service.atlas.report import report
from tests.support import instrumented
from tests.support.asking import atlas_of
from tests.support.published import IMAGES, publish
from workers.errors import RunError
from workers.spec.make import check_run_id
from workers.store.root import Root

BAD = [
    "<script>alert(1)</script>.jpg",
    "\"'><img src=x onerror=alert(1)>",
    "../../../../etc/passwd",
    "line\nbreak\ttab\r.png",
    "a" * 300,
    "\u202egnp.exe\u2066x",
    "%2e%2e%2f%00.png",
    "{{ 7 * 7 }}{% for %}",
    "?id=x&run=y#z",
    "ünï/ç😀de.png",
    "</title></style><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "rejected",
]
NAMED = [(name, name) for name in BAD]


class Reader(HTMLParser):
    """Collects the tags, links and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.events: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.events += [name for name, _ in attrs if name.startswith("on") or name == "style"]
        self.links += [value for name, value in attrs if name in ("href", "src", "action") and value]

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Root:
    root = Root(str(tmp_path_factory.mktemp("root")))
    assert len(NAMED) == IMAGES + 1
    publish(root, named=NAMED)
    instrumented.occlude(root, named=NAMED)
    instrumented.invert(root, named=NAMED)
    instrumented.sanity(root, named=NAMED)
    instrumented.evolve(root, named=NAMED)
    return root


@pytest.fixture(scope="module")
def client(root) -> TestClient:
    return atlas_of(root)


def pages(name: str) -> list[str]:
    return [
        f"/runs/first/image?{urlencode({'id': name})}",
        f"/runs/first/label?{urlencode({'name': name})}",
        f"/search?{urlencode({'q': name})}",
        f"/runs/first/layers/relu1?{urlencode({'label': name})}",
    ]


@pytest.mark.parametrize("name", BAD[:-1], ids=range(len(BAD) - 1))
def test_a_bad_name_is_text_on_every_page_about_it(client, name):
    for path in pages(name):
        answer = client.get(path)
        assert answer.status_code == 200, path
        page = Reader(answer.text)
        assert page.tags.count("script") == 1 and "onerror" not in page.events and not page.events
        assert all(link == "#main" or (link.startswith("/") and not link.startswith("//")) for link in page.links)
    shown = Reader(client.get(pages(name)[0]).text)
    assert name.replace("\r", "\n") in shown.words.replace("\r", "\n")


@pytest.mark.parametrize("name", BAD[:-1], ids=range(len(BAD) - 1))
def test_links_that_hold_a_bad_name_lead_to_what_has_it(client, name):
    [image] = [
        link for link in Reader(client.get(pages(name)[2]).text).links if "/image?" in link and _is_of(link, name)
    ]
    assert client.get(f"{image.replace('/image?', '/image.json?')}").json()["title"] == name
    [label] = [
        link for link in Reader(client.get(pages(name)[2]).text).links if "/label?" in link and _is_of(link, name)
    ]
    assert client.get(f"{label.replace('/label?', '/label.json?')}").json()["label"] == name


def test_instruments_and_the_report_show_bad_names_as_text(client, root):
    atlas = Atlas(root)
    texts = [client.get(f"/runs/{run}").text for run in ("covered", "inverted", "randomised", "trained")]
    texts += [client.get(f"/runs/covered/rows/{n}").text for n in range(len(BAD))]
    texts += [client.get("/runs/trained/layers/relu2").text, client.get("/runs/trained/rows/3").text]
    texts += [report(atlas, atlas.run(run), 3) for run in ("first", "covered", "inverted", "randomised")]
    for text in texts:
        page = Reader(text)
        assert not page.events and page.tags.count("script") <= 1 and "7 * 7" not in text.replace("{{ 7 * 7 }}", "")
        assert all(link.startswith(("/", "data:image/", "#main")) for link in page.links)


@pytest.mark.parametrize("run", [*BAD, "a/b", "a\\b", "con.json", "A", "1", "", "a" * 101, "a b"])
def test_a_bad_run_id_is_refused_when_it_is_given_and_is_not_there_when_it_is_asked_for(client, run):
    if run != "rejected":
        with pytest.raises(RunError, match="is not a valid run id"):
            check_run_id(run)
    answer = client.get(f"/runs/{urlencode({'': run})[1:]}")
    assert answer.status_code in (400, 404)
    assert escape(run) == run or run not in answer.text


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/runs/first/../../x"]
)
def test_no_path_leaves_the_package_or_the_root(client, path):
    assert client.get(path).status_code == 404


def _is_of(link: str, name: str) -> bool:
    return urlencode({"": name})[1:] == unescape(link).partition("?")[2].partition("=")[2]
