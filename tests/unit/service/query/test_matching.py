"""Best matches of channels: those of comparing every channel with every other, and the floor is that of drawing at random."""

import json
import math

import numpy as np
import pyarrow.dataset as ds
import pytest
from PIL import Image
from scipy import stats
from typer.testing import CliRunner

from service.cli.main import app
from service.query import matching
from tests.support.published import CHANNELS, DEAD, IMAGES, names, publish
from workers.store.root import Root

LAYERS = list(CHANNELS)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Root:
    """A scan, one of a network with other layers, one over other files, and one of which half are the same files."""
    root = Root(str(tmp_path_factory.mktemp("root")))
    publish(root, "first")
    other = [(f"dog/{n}.png", "dog") for n in range(IMAGES + 1)]
    shuffled = [names()[(7 * n) % IMAGES] for n in range(IMAGES)] + [names()[IMAGES]]
    publish(root, "alien", named=shuffled, k=5, prefix="blocks.")
    publish(root, "half", named=[*names()[:6], *other[6:]], corpus={"source": "/half"})
    publish(root, "other", named=other, corpus={"source": "/other"})
    return root


def compare(root: Root, *words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["compare", *words, "--root", root.url])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout if not code else result.stderr


def top_images(root: Root, run: str) -> dict[tuple[str, int], list[str]]:
    """The images of each channel, best first, read from the files alone."""
    table = ds.dataset(f"{root.url}/tables/top/run={run}").to_table()
    rows = table.sort_by([("layer_index", "ascending"), ("channel", "ascending"), ("rank", "ascending")]).to_pylist()
    images: dict[tuple[str, int], list[str]] = {}
    for row in rows:
        images.setdefault((row["layer"], row["channel"]), [])
        if row["score"] > 0:
            images[row["layer"], row["channel"]].append(row["image_id"])
    return images


def order(one: list[str], other: list[str]) -> float:
    shared = [image for image in one if image in other]
    ranks = [[side.index(image) for image in shared] for side in (one, other)]
    return stats.spearmanr(*ranks).statistic if len(shared) >= 3 else -2.0


@pytest.mark.parametrize("other", ["alien", "half", "first"])
def test_a_match_is_the_best_of_all_channels(root, other):
    own, others = top_images(root, "first"), top_images(root, other)
    for layer in LAYERS:
        matches = json.loads(compare(root, "first", other, "--match", "overlap", "--layer", layer, "--json"))
        assert [match["channel"] for match in matches] == list(range(CHANNELS[layer]))
        for match in matches:
            images = own[layer, match["channel"]]
            if match["channel"] == DEAD:
                assert (match["layer"], match["shared"], match["overlap"]) == (None, 0, None)
                continue
            best = max(
                (len(set(images) & set(theirs)) / max(len(images), len(theirs)), order(images, theirs))
                if theirs
                else (0, 0)
                for theirs in others.values()
            )
            theirs = others[match["layer"], match["other"]]
            assert match["shared"] == len(set(images) & set(theirs))
            assert match["overlap"] == match["shared"] / max(len(images), len(theirs)) == pytest.approx(best[0])
            assert order(images, theirs) == pytest.approx(best[1])


def test_a_scan_matches_itself(root):
    for layer in json.loads(compare(root, "first", "first", "--match", "overlap", "--json")):
        assert layer["overlap"] == 1.0
    matches = json.loads(compare(root, "first", "first", "--match", "overlap", "--layer", "relu1", "--json"))
    assert [match["rank_correlation"] for match in matches if match["layer"]] == [pytest.approx(1)] * (
        CHANNELS["relu1"] - 1
    )


@pytest.mark.parametrize(
    ("images", "ks", "channels"), [(50, (9, 9), 30), (200, (9, 5), 400), (9, (9, 9), 3), (4, (9, 2), 10)]
)
def test_the_floor_is_what_random_draws_share(images, ks, channels):
    random = np.random.default_rng(0)
    own, drawn = (min(k, images) for k in ks)
    best = [
        max(np.isin(random.permutation(images)[:drawn], np.arange(own)).sum() for _ in range(channels))
        / max(own, drawn)
        for _ in range(400)
    ]
    assert matching.expected_best(images, ks, channels) == pytest.approx(np.mean(best), abs=0.02)


def test_the_floor_of_a_billion_images_is_a_number():
    expected = (1 - math.exp(-20_000 * 100 * 100 / 1e9)) / 100  # hardly any draw has more than one of the images
    assert matching.expected_best(10**9, (100, 100), 20_000) == pytest.approx(expected, rel=1e-3)


def test_scans_without_a_common_layer_are_matched_by_overlap_at_once(root):
    rows = json.loads(compare(root, "first", "alien", "--json"))
    assert [row["layer"] for row in rows] == LAYERS
    assert {row["matched_layer"].partition(".")[0] for row in rows} == {"blocks"}
    assert "no layer in common: match" in compare(root, "first", "alien", "--match", "number", code=2)
    assert "most matches in" in compare(root, "first", "alien")


def test_what_cannot_be_matched_is_refused_in_a_line(root):
    assert "no file in common" in compare(root, "first", "other", "--match", "overlap", code=2)
    assert "no layer 'relu9'" in compare(root, "first", "alien", "--layer", "relu9", code=2)


def test_the_figure_is_drawn(root, tmp_path):
    out = tmp_path / "matched.png"
    compare(root, "first", "alien", "-o", str(out))
    with Image.open(out) as drawn:
        assert drawn.width > 500 and len(drawn.convert("RGB").getcolors(1 << 24)) > 20
