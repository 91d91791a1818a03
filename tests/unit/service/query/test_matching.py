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
from tests.support.published import CHANNELS, DEAD, IMAGES, K, names, publish
from workers.store.root import Root

LAYERS = list(CHANNELS)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Root:
    """A scan, two of a network with other layers, one over other files, and one of which half are the same files."""
    root = Root(str(tmp_path_factory.mktemp("root")))
    publish(root, "first")
    other = [(f"dog/{n}.png", "dog") for n in range(IMAGES + 1)]
    shuffled = [names()[(7 * n) % IMAGES] for n in range(IMAGES)] + [names()[IMAGES]]
    publish(root, "alien", named=shuffled, k=5, prefix="blocks.")
    publish(root, "half", named=[*names()[:6], *other[6:]], corpus={"source": "/half"})
    publish(root, "other", named=other, corpus={"source": "/other"})
    publish(root, "more", named=shuffled, k=K + 2, prefix="blocks.")
    return root


def compare(root: Root, *words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["compare", *words, "--root", root.url])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout if not code else result.stderr


def top_images(root: Root, run: str, k: int) -> dict[tuple[str, int], list[str]]:
    """The k best images of each channel, best first, read from the files alone."""
    table = ds.dataset(f"{root.url}/tables/top/run={run}").to_table()
    rows = table.sort_by([("layer_index", "ascending"), ("channel", "ascending"), ("rank", "ascending")]).to_pylist()
    images: dict[tuple[str, int], list[str]] = {}
    for row in rows:
        images.setdefault((row["layer"], row["channel"]), [])
        if row["score"] > 0 and row["rank"] < k:
            images[row["layer"], row["channel"]].append(row["image_id"])
    return images


def order(one: list[str], other: list[str]) -> float:
    shared = [image for image in one if image in other]
    ranks = [[side.index(image) for image in shared] for side in (one, other)]
    return stats.spearmanr(*ranks).statistic if len(shared) >= 3 else -2.0


@pytest.mark.parametrize(("other", "k"), [("alien", 5), ("half", K), ("first", K), ("more", K)])
def test_a_match_is_the_best_of_all_channels_and_the_first_of_equals(root, other, k):
    own, others = top_images(root, "first", k), top_images(root, other, k)
    for layer in LAYERS:
        matches = json.loads(compare(root, "first", other, "--match", "overlap", "--layer", layer, "--json"))
        assert [match["channel"] for match in matches] == list(range(CHANNELS[layer]))
        for match in matches:
            images = own[layer, match["channel"]]
            if match["channel"] == DEAD:
                assert (match["layer"], match["shared"], match["overlap"]) == (None, 0, None)
                continue
            similar = {
                place: (len(set(images) & set(theirs)) / max(len(images), len(theirs)), round(order(images, theirs), 9))
                for place, theirs in others.items()
            }
            best = max(similar, key=lambda place: similar[place])  # the first of equals
            assert (match["layer"], match["other"]) == best
            assert match["shared"] == len(set(images) & set(others[best])) and match["overlap"] == similar[best][0]


def test_a_scan_matches_itself(root):
    for layer in json.loads(compare(root, "first", "first", "--match", "overlap", "--json")):
        assert layer["overlap"] == 1.0
    matches = json.loads(compare(root, "first", "first", "--match", "overlap", "--layer", "relu1", "--json"))
    assert [match["rank_correlation"] for match in matches if match["layer"]] == [pytest.approx(1)] * (
        CHANNELS["relu1"] - 1
    )


@pytest.mark.parametrize(
    ("files", "in_common", "k", "channels"),
    [((50, 50), 50, 9, 30), ((200, 300), 150, 5, 400), ((12, 12), 6, 9, 35), ((12, 12), 2, 9, 20), ((9, 4), 4, 9, 3)],
)
def test_the_floor_is_what_random_draws_share(files, in_common, k, channels):
    random = np.random.default_rng(0)
    corpora = [np.arange(files[0]), np.arange(files[0] - in_common, files[0] - in_common + files[1])]
    best = []
    for _ in range(500):
        own = set(random.permutation(corpora[0])[:k].tolist())
        draws = [set(random.permutation(corpora[1])[:k].tolist()) for _ in range(channels)]
        best.append(max(len(own & drawn) / max(len(own), len(drawn)) for drawn in draws))
    expected = matching.expected_best(files, in_common, k, channels)
    assert expected == pytest.approx(np.mean(best), abs=4 * np.std(best) / 500**0.5 + 1e-9)


def test_the_floor_of_a_billion_images_is_a_number():
    expected = (1 - math.exp(-20_000 * 100 * 100 / 1e9)) / 100  # hardly any draw has more than one of the images
    assert matching.expected_best((10**9, 10**9), 10**9, 100, 20_000) == pytest.approx(expected, rel=1e-3)
    assert matching.expected_best((10**6, 10**6), 10, 9, 22_720) < 1e-4


def test_the_floor_of_a_comparison_counts_living_channels_and_the_files_of_both_corpora(root):
    living = sum(count - 1 for count in CHANNELS.values())
    rows = json.loads(compare(root, "first", "half", "--match", "overlap", "--json"))
    assert {row["chance"] for row in rows} == {matching.expected_best((IMAGES, IMAGES), 6, K, living)}
    by_number = json.loads(compare(root, "first", "half", "--json"))
    assert {row["chance"] for row in by_number} == {6 * K / IMAGES**2}


def test_scans_without_a_common_layer_are_matched_by_overlap_at_once(root):
    rows = json.loads(compare(root, "first", "alien", "--json"))
    assert [row["layer"] for row in rows] == LAYERS
    assert {row["matched_layer"].partition(".")[0] for row in rows} == {"blocks"}
    assert "no layer in common: match" in compare(root, "first", "alien", "--match", "number", code=2)
    assert "most matches in" in compare(root, "first", "alien")
    assert "keep 9 and 11 images per channel; the best 9 of each are compared" in compare(root, "first", "more")


def test_what_cannot_be_matched_is_refused_in_a_line(root):
    assert "no file in common" in compare(root, "first", "other", "--match", "overlap", code=2)
    assert "no layer 'relu9'" in compare(root, "first", "alien", "--layer", "relu9", code=2)


def test_the_figure_is_drawn(root, tmp_path):
    out = tmp_path / "matched.png"
    compare(root, "first", "alien", "-o", str(out))
    with Image.open(out) as drawn:
        assert drawn.width > 500 and len(drawn.convert("RGB").getcolors(1 << 24)) > 20
