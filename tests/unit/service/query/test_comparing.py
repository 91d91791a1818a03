"""Two scans beside each other: the same is the same, order is order, and chance is told."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import stats
from typer.testing import CliRunner

from service.cli.main import app
from service.query import catalog, comparing
from service.sheets import contact
from service.sheets.cells import geometry
from tests.support.published import CHANNELS, DEAD, IMAGES, K, names, publish
from workers.core.rank_correlation import spearman
from workers.store.root import Root


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Root:
    """A scan, the same network over a corpus of other files, and one over a corpus of which half are the same files."""
    root = Root(str(tmp_path_factory.mktemp("root")))
    publish(root, "first")
    publish(root, "again", k=K)
    other = [(f"dog/{n}.png", "dog") for n in range(IMAGES + 1)]
    publish(root, "other", named=other, corpus={"source": "/other"})
    publish(root, "half", named=[*names()[:6], *other[6:]], corpus={"source": "/half"})
    return root


def asked(root: Root, *words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["compare", *words, "--root", root.url])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout if not code else result.stderr


def told(root: Root, *words: str) -> list[dict]:
    return json.loads(asked(root, *words, "--json"))


def test_a_run_is_equal_to_itself(root):
    for each in told(root, "first", "first"):
        assert (each["overlap"], each["rank_correlation"], each["channel_correlation"]) == (1.0, pytest.approx(1), 1.0)
        assert each["chance"] == K / IMAGES
    pairs = told(root, "first", "again", "--layer", "relu1")
    assert [pair["overlap"] for pair in pairs] == [None if n == DEAD else 1.0 for n in range(CHANNELS["relu1"])]


def test_runs_without_a_file_in_common_have_no_overlap_rather_than_none(root):
    [first, *_] = told(root, "first", "other")
    assert (first["overlap"], first["chance"], first["rank_correlation"]) == (None, None, None)
    assert first["channel_correlation"] == 1.0  # the same channels are loud all the same
    assert "the corpora have no file in common" in asked(root, "first", "other")
    assert "no file" not in asked(root, "first", "half")


def test_images_are_the_same_where_their_bytes_are(root):
    compared = comparing.comparison(catalog.find(root, "first"), catalog.find(root, "half"))
    assert compared.in_common == 6
    pairs = told(root, "first", "half", "--layer", "relu2")
    for pair in pairs:
        if pair["channel"] != DEAD:
            tops = {(pair["channel"] + rank) % IMAGES for rank in range(K)}
            assert pair["shared"] == len([n for n in tops if n < 6]) and pair["overlap"] == pair["shared"] / K


def test_a_comparison_is_symmetric(root):
    assert told(root, "first", "half") == told(root, "half", "first")
    assert told(root, "first", "half", "--layer", "fc") == told(root, "half", "first", "--layer", "fc")


def test_order_is_spearmans_and_two_images_have_none():
    random = np.random.default_rng(0)
    for _ in range(20):
        one, other = random.integers(0, 6, 12), random.integers(0, 6, 12)
        assert spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)
    assert spearman(np.ones(5), np.arange(5)) is None
    pair = comparing._pair(0, {"a": 0, "b": 1, "c": 2, "d": 3}, {"d": 0, "c": 1, "b": 2, "x": 3}, comparable=True)
    assert (pair.shared, pair.overlap) == (3, 3 / 4) and pair.rank_correlation == pytest.approx(-1)
    assert comparing._pair(0, {"a": 0, "b": 1}, {"a": 0, "b": 1}, comparable=True).rank_correlation is None


def test_the_floor_is_the_mean_over_all_pairs_of_other_channels():
    random = np.random.default_rng(0)
    sides = [
        [{f"i{n}": r for r, n in enumerate(random.permutation(12)[: random.integers(0, 6)])} for _ in range(9)]
        for _ in range(2)
    ]
    every = [
        len(one.keys() & other.keys()) / max(len(one), len(other))
        for i, one in enumerate(sides[0])
        for j, other in enumerate(sides[1])
        if i != j and (one or other)
    ]
    assert comparing._mismatched(*sides) == pytest.approx(np.mean(every))


def test_what_cannot_be_compared_is_refused_in_a_line(root, tmp_path):
    assert "no layer 'relu9'" in asked(root, "first", "other", "--layer", "relu9", code=2)
    assert "'nowhere' is not published" in asked(root, "first", "nowhere", code=2)
    assert "is not a PNG file" in asked(root, "first", "other", "-o", str(tmp_path / "a.gif"), code=2)


@pytest.mark.parametrize(("match", "sign"), [("number", 1), ("overlap", -1)])
@pytest.mark.parametrize("column", ["overlap", "rank_correlation"])
def test_channels_are_sorted_by_what_changed_most_or_matches_best_and_limited(root, column, match, sign):
    words = ("first", "half", "--layer", "relu1", "--match", match)
    plain = told(root, *words)
    known = sorted(
        (row for row in plain if row[column] is not None), key=lambda row: (sign * row[column], row["channel"])
    )
    unknown = [row for row in plain if row[column] is None]
    assert [row["channel"] for row in plain] == list(range(CHANNELS["relu1"])) and unknown
    assert told(root, *words, "--sort", column) == known + unknown
    assert told(root, *words, "--sort", column, "--limit", "3") == (known + unknown)[:3]


def test_channels_are_only_sorted_and_limited_within_a_layer(root):
    for words in (("--sort", "overlap"), ("--limit", "3")):
        assert "add --layer" in asked(root, "first", "half", *words, code=2)
    assert "'size' is not one of" in asked(root, "first", "half", "--layer", "relu1", "--sort", "size", code=2)


@pytest.fixture
def texts(monkeypatch) -> list[str]:
    """All texts that are drawn."""
    drawn: list[str] = []
    plain = ImageDraw.ImageDraw.text

    def text(self, xy, text, *more, **options):
        drawn.append(text)
        return plain(self, xy, text, *more, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return drawn


def test_the_channels_of_a_layer_are_drawn_in_both_scans_the_most_changed_first(root, tmp_path, texts):
    out = tmp_path / "channels.png"
    rows = told(root, "first", "half", "--layer", "relu2", "--limit", "2", "-o", str(out))
    assert rows == told(root, "first", "half", "--layer", "relu2", "--sort", "overlap")[:2]
    labels = [f"channel {row['channel']} · {100 * row['overlap']:.0f} % of top images in common" for row in rows]
    assert texts[:6] == [text for label in labels for text in (label, "first", "half")]
    assert " · ".join(texts[6:]) == "first and half · layer relu2 · most changed first · patches"


def test_channels_of_scans_without_a_common_file_are_drawn_in_their_order_and_claim_no_overlap(root, tmp_path, texts):
    asked(root, "first", "other", "--layer", "relu2", "--limit", "2", "-o", str(tmp_path / "channels.png"))
    assert texts[:6] == ["channel 0", "first", "other", "channel 1", "first", "other"]
    assert " · ".join(texts[6:]) == "first and other · layer relu2 · the corpora have no file in common · patches"


def test_each_side_has_the_tiles_of_its_own_scans_sheet(root, tmp_path):
    out = tmp_path / "one.png"
    [row] = told(root, "first", "half", "--layer", "relu2", "--limit", "1", "-o", str(out))
    drawn, form = np.asarray(Image.open(out)), geometry(run := catalog.find(root, "half"), run.layer("relu2"))
    (width, height), margin, gap = form.grid, contact.MARGIN_PX, contact.PAIR_GAP_PX
    right = slice(margin + width + gap, margin + 2 * width + gap)  # of both sheets: there are projections on the left
    for side, columns in (("first", slice(margin, margin + width)), ("half", right)):
        own = np.asarray(contact.sheet(catalog.find(root, side), "relu2", [row["channel"]]))
        bottom = slice(-margin - height, -margin)
        assert np.array_equal(own[bottom, right], drawn[bottom, columns])


def test_best_matches_are_drawn_with_their_layer_and_number(root, tmp_path, texts):
    words = (
        "first",
        "half",
        "--layer",
        "relu1",
        "--match",
        "overlap",
        "--sort",
        "channel",
        "-o",
        str(tmp_path / "a.png"),
    )
    rows = told(root, *words)
    matched = [f"half · {row['layer']} · {row['other']}" for row in rows if row["layer"]]
    assert [text for text in texts if text.startswith(("half ·", "…"))] and len(matched) < len(rows)
    assert texts.count("first") == len(rows) and f"channel {DEAD} · no top images" in texts
    assert "by channel number" in " ".join(texts)


def test_too_many_channels_for_a_picture_are_refused(root, tmp_path, monkeypatch):
    monkeypatch.setattr(contact, "LARGEST_PAGE_PX", 1_000_000)
    words = ("first", "half", "--layer", "relu1", "--limit", "20", "-o", str(tmp_path / "a.png"))
    assert "20 channels do not fit on a sheet; request 1 to" in asked(root, *words, code=2)


def test_the_figure_is_drawn(root, tmp_path):
    out = tmp_path / "compared.png"
    asked(root, "first", "other", "-o", str(out))
    assert "other channels" in asked(root, "first", "half", "-o", str(out))
    with Image.open(out) as drawn:
        assert drawn.width > 500 and len(drawn.convert("RGB").getcolors(1 << 24)) > 20
