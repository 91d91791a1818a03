"""Two scans beside each other: the same is the same, order is order, and chance is told."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from typer.testing import CliRunner

from service.cli.main import app
from service.query import catalog, comparing
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


def test_the_figure_is_drawn(root, tmp_path):
    out = tmp_path / "compared.png"
    asked(root, "first", "other", "-o", str(out))
    assert "other channels" in asked(root, "first", "half", "-o", str(out))
    with Image.open(out) as drawn:
        assert drawn.width > 500 and len(drawn.convert("RGB").getcolors(1 << 24)) > 20
