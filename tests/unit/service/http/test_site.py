"""A written site: every link leads to a file, nothing leads elsewhere, and only what was selected is there."""

import json
import re
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest
from typer.testing import CliRunner

from service.atlas import report
from service.atlas.atlas import Atlas
from service.cli.main import app
from service.http import exporting, site
from service.http.keys import Keys, Scope
from tests.support import instrumented
from tests.support.published import CHANNELS, CORPUS, publish
from workers.errors import QueryError, RunError
from workers.store.root import Root

LINK = re.compile(r' (?:href|src|action)="([^"]*)"')
HIDDEN = "/home/alice/photos"
WEIGHTS = {"source": "torchvision://resnet18?weights=/home/alice/w/best.pt", "fingerprint": "other"}
RUNS = ("first", "second", "covered", "inverted", "randomised")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Root:
    root = Root(str(tmp_path_factory.mktemp("root")))
    publish(root)
    publish(root, "second", "2026-11-24T02:00:00+00:00", corpus={"source": HIDDEN}, model=WEIGHTS)
    instrumented.occlude(root)
    instrumented.invert(root)
    instrumented.sanity(root)
    return root


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "whole"
    exporting.site(root, RUNS).write(folder)
    return folder


def pages(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.html"))


def links(page: Path) -> list[str]:
    return [unescape(link) for link in LINK.findall(page.read_text())]


def targets(folder: Path) -> set[Path]:
    """The files that links lead to; a link is relative, and its file exists."""
    found = set()
    for page in pages(folder):
        for link in links(page):
            if not link.startswith("#"):
                target = (page.parent / unquote(link.partition("#")[0])).resolve()
                assert target.is_file() and target.is_relative_to(folder.resolve()), (page, link)
                found.add(target)
    return found


def test_every_link_leads_to_a_file_and_every_file_is_linked(whole):
    files = {path.resolve() for path in whole.rglob("*") if path.is_file()}
    assert files - targets(whole) == set() and len(files) > 500


def test_every_page_of_the_runs_is_written(whole):
    names = {path.relative_to(whole).as_posix() for path in pages(whole)}
    assert {"index.html", "limits/index.html", *(f"runs/{run}/index.html" for run in RUNS)} <= names
    for layer, count in CHANNELS.items():
        for number in range(count):
            assert f"runs/first/layers/{layer}/channels/{number}/index.html" in names


def test_no_page_says_where_images_and_models_are(whole, root):
    texts = [path.read_text() for path in whole.rglob("*") if path.suffix in (".html", ".json")]
    assert len(texts) > 100 and not [text for text in texts if CORPUS in text or "alice" in text or root.url in text]
    atlas = Atlas(root)
    for run in RUNS:
        text = report.report(atlas, atlas.run(run), 2)
        assert "/" in atlas.run(run).corpus and CORPUS not in text and "alice" not in text


def test_links_to_a_part_of_a_page_keep_it(whole):
    assert [link for page in pages(whole) for link in links(page) if "randomised/index.html#" in link]


def test_nothing_needs_a_server(whole):
    for page in pages(whole):
        text = page.read_text()
        assert "<form" not in text and "http://" not in text.replace("http://www.w3.org/", "") and 'href="/' not in text


def test_a_page_is_the_services_but_for_its_links(whole):
    page = (whole / "runs/first/layers/relu1/channels/3/index.html").read_text()
    assert page.count("<img ") >= 18 and "Scores of" in page and "<h1>channel 3" in page
    pictures = [link for link in LINK.findall(page) if link.endswith((".png", ".webp", ".jpg"))]
    assert len(pictures) >= 18


def test_only_what_was_selected_is_there(root, tmp_path):
    small = exporting.site(root, ["second"], ["relu*"], 3)
    estimated, written = small.estimate(), small.write(tmp_path / "site")
    targets(tmp_path / "site")
    text = "".join(page.read_text() for page in pages(tmp_path / "site"))
    assert "first" not in (tmp_path / "site" / "index.html").read_text() and "runs/first" not in text
    folders = sorted(path.parent.name for path in (tmp_path / "site/runs/second/layers").glob("*/index.html"))
    assert folders == [name for name in CHANNELS if name.startswith("relu")]
    for layer in folders:
        channels = list((tmp_path / "site/runs/second/layers" / layer / "channels").glob("*/index.html"))
        wall = (tmp_path / "site/runs/second/layers" / layer / "index.html").read_text()
        assert len(channels) == 3 == len(re.findall("<li[ >]", wall))
        assert f"This site shows {len(channels)} of the layer's channels." in wall
    assert (estimated.pages, estimated.pictures) == (written.pages, written.pictures)
    assert estimated.bytes == pytest.approx(written.bytes, rel=0.25)
    size = sum(path.stat().st_size for path in (tmp_path / "site").rglob("*") if path.is_file())
    assert size == written.bytes


def test_a_link_whose_page_is_not_written_is_text_and_an_arrow_to_it_is_left_out(tmp_path):
    root = Root(str(tmp_path / "root"))
    publish(root, model=WEIGHTS | {"class_names": ("tench", "hot dog")}, predicted=[(1, "hot dog")] * 12)
    exporting.site(root, ["first"], ["relu1"], 2).write(tmp_path / "site")
    channels = sorted((tmp_path / "site/runs/first/layers/relu1/channels").glob("*/index.html"))
    assert len(channels) == 2
    for page in channels:
        text = page.read_text()
        assert '<li><a class="long">hot dog</a> <b>' in text
        turns = re.findall('<a rel="(?:prev|next)"[^>]*>', text)
        assert all(" href=" in turn for turn in turns)
        assert len(turns) < 2 * text.count('class="turn"')


def test_an_image_shows_all_the_channels_that_it_counts(whole):
    counts = []
    for page in (whole / "runs/first/image").glob("*.html"):
        text = page.read_text()
        [count] = re.findall(r"among the top images of (\d+) channel", text)
        counts.append((int(count), len(re.findall(r"<li data-unit=", text))))
    assert counts and all(count == cards for count, cards in counts)


def test_images_and_labels_have_no_page_beside_a_part_of_the_channels(root, tmp_path):
    exporting.site(root, ["first"], ["relu1"]).write(tmp_path / "site")
    assert not [page for page in pages(tmp_path / "site") if page.parent.name in ("image", "label")]
    assert (tmp_path / "site/runs/first/layers/relu1/channels/3/index.html").exists()


def test_runs_that_were_not_selected_do_not_exist_for_it(root, tmp_path):
    exporting.site(root, ["second"]).write(tmp_path / "site")
    assert [path.name for path in (tmp_path / "site" / "runs").iterdir()] == ["second"]
    text = "".join(path.read_text() for path in (tmp_path / "site").rglob("*") if path.suffix in (".html", ".json"))
    assert not [run for run in RUNS if run != "second" and run in text.replace("first=", "").split('"')]
    assert "covered" not in text and "inverted" not in text


def test_a_root_with_keys_is_exported_too(tmp_path):
    store = Root(str(tmp_path / "root"))
    publish(store)
    Keys(store).add("only", Scope.READ)
    assert exporting.site(store, ["first"]).write(tmp_path / "site").pages > 20


def asked(*words: str, code: int = 0):
    result = CliRunner().invoke(app, ["export", *words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_the_command_says_how_large_the_site_is_before_it_writes_it(root, tmp_path):
    words = ("first", "--root", root.url, "--layers", "relu1", "-o", str(tmp_path / "site"))
    dry = asked(*words, "--dry-run").stdout
    assert re.fullmatch(r"would write [\d,]+ pages and [\d,]+ pictures, about [\d.]+ [kM]B\n", dry)
    assert not (tmp_path / "site").exists()
    first, last = asked(*words).stdout.splitlines()
    layers = (tmp_path / "site/runs/first/index.html").read_text()
    assert layers.count("Not on this site.") == len(CHANNELS) - 1
    assert first == dry.strip().replace("would write", "writing") and last.startswith(f"{tmp_path}/site/index.html  ")
    again = asked(*words, code=2).stderr
    assert again == f"deconvoy: output '{tmp_path}/site' exists and is not an empty folder; give a new one\n"
    told = json.loads(asked(*words[:-1], str(tmp_path / "other"), "--json").stdout)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "site"]
    assert told["output"] == str(tmp_path / "other") and told["pages"] == len(pages(tmp_path / "other"))


@pytest.mark.parametrize(
    ("runs", "layers", "error", "line"),
    [
        (["none"], [], RunError, "run 'none' is not published"),
        (["first"], ["relux"], QueryError, "matches no layer; nearest"),
    ],
)
def test_what_is_not_there_is_one_line(root, runs, layers, error, line):
    with pytest.raises(error, match=line):
        exporting.site(root, runs, layers)


def test_a_file_in_the_way_is_one_line(root, tmp_path):
    (tmp_path / "site").write_text("")
    assert "is not an empty folder" in asked("first", "--root", root.url, "-o", str(tmp_path / "site"), code=2).stderr


@pytest.mark.parametrize("path", ["/runs/../../x", "/../x", "/runs/a/layers/..", "/runs/./b"])
def test_no_file_is_written_outside_of_the_folder(path):
    for file in (site._page_file(path), site._picture_file(path, "image/png")):
        assert not {"", ".", ".."} & set(file.split("/"))
