"""Statistics, display and preprocessing against other roads to the same numbers."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.core import counting, shard_scores
from workers.core.display import display, undisplay
from workers.core.histogram_bins import bin_values
from workers.core.preprocess import Preprocessing
from workers.core.receptive_field import Box
from workers.core.statistics import QUANTILES, Statistics
from workers.spec.parts import Interpolation


def bins(scores: np.ndarray) -> np.ndarray:
    return counting.bins(torch.from_numpy(scores)).numpy()


def statistics(scores: np.ndarray) -> Statistics:
    return shard_scores.statistics(torch.from_numpy(scores), {3: scores.shape[1]})


SCORES = st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=40)


@given(SCORES, st.integers(1, 39))
def test_folded_statistics_are_those_of_all_scores(values, cut):
    scores = np.array(values, np.float32)[:, None]
    cut = min(cut, len(values) - 1)
    folded = statistics(scores[:cut]).fold(statistics(scores[cut:])).table_columns()
    assert folded["max"][0] == scores.max()
    np.testing.assert_allclose(folded["mean"][0], scores.astype(np.float64).mean(), rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(folded["std"][0], scores.astype(np.float64).std(), rtol=1e-4, atol=1e-2)
    assert folded["active_share"][0] == (scores > 0).mean()
    assert folded["dead"][0] == (not (scores > 0).any())
    for percent in QUANTILES:
        wanted = np.sort(scores[:, 0])[int(np.ceil(percent / 100 * len(scores))) - 1]
        np.testing.assert_allclose(folded[f"q{percent:02d}"][0], wanted, rtol=0.0051, atol=1e-17)


@given(st.floats(2.0**-50, 2.0**50, width=32))
def test_a_bin_is_one_percent_wide_and_symmetric(value):
    number = bins(np.array([value, -value], np.float32))
    assert number[0] == -number[1]
    np.testing.assert_allclose(bin_values(number), [value, -value], rtol=0.0051)


def test_display_is_symmetric_about_mid_grey_and_can_be_undone():
    projection = np.random.default_rng(0).normal(size=(3, 9, 7)).astype(np.float32)
    pixels, scale = display(projection)
    mirrored, _ = display(-projection)
    assert np.abs(pixels.astype(int) + mirrored - 255).max() <= 1
    np.testing.assert_allclose(undisplay(pixels, scale), projection, atol=scale / 100)


def test_a_projection_of_zeros_is_grey():
    pixels, scale = display(np.zeros((3, 2, 2), np.float32))
    assert (pixels == 128).all() and scale == 0


@given(st.integers(40, 300), st.integers(40, 300), st.integers(0, 31), st.integers(0, 31))
def test_a_source_box_holds_the_pixels_that_the_input_pixel_was_made_of(height, width, y, x):
    preprocessing = Preprocessing(36, 32, (0, 0, 0), (1, 1, 1), Interpolation.NEAREST)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(height)[:, None] % 256, np.arange(width)[None] % 256
    prepared = preprocessing.prepare(pixels, 10**8)
    box = preprocessing.source_box(Box(y, x, y + 1, x + 1), height, width)
    assert int(prepared[0, y, x]) in np.arange(box.top, box.bottom) % 256
    assert int(prepared[1, y, x]) in np.arange(box.left, box.right) % 256


def test_normalising_is_scale_mean_and_deviation():
    preprocessing = Preprocessing(8, 8, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), Interpolation.BILINEAR)
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    wanted = (images.double() / 255 - torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)) / torch.tensor(
        [0.2, 0.3, 0.4]
    ).view(1, 3, 1, 1)
    torch.testing.assert_close(preprocessing.normalise(images).double(), wanted, rtol=1e-5, atol=1e-5)


def test_bins_are_those_of_a_search_among_the_edges():
    random = np.random.default_rng(0)
    spread = np.exp(random.uniform(-45, 45, 20_000)).astype(np.float32) * random.choice(
        np.array([-1, 1], np.float32), 20_000
    )
    edges = (1.01 ** (np.arange(1, 8001) - 4001.0)).astype(np.float64)
    near = edges.astype(np.float32)
    scores = np.concatenate(
        [spread, near, -near, np.nextafter(near, np.float32(0)), np.array([0, -0.0, 3e38, 1e-40], np.float32)]
    )
    searched = np.clip(np.searchsorted(edges, np.abs(scores.astype(np.float64)), side="right"), 1, 8000)
    assert (bins(scores) == np.sign(scores) * searched).all()


def test_histograms_are_those_of_each_channel_alone_folded_or_not(monkeypatch):
    monkeypatch.setattr("workers.core.counting.COUNTED_AT_ONCE", 500)  # a few channels
    scores = np.maximum(np.random.default_rng(1).normal(0, 3, (50, 7)), -1).astype(np.float32)
    scores[:, 4] = 0
    for found in (statistics(scores), statistics(scores[:1]).fold(statistics(scores[1:]))):
        columns = {name: column.to_pylist() for name, column in found.histograms.columns().items()}
        for channel, (numbers, counts) in enumerate(zip(columns["bins"], columns["counts"], strict=True)):
            wanted = np.unique(bins(scores[:, channel]), return_counts=True)
            assert (numbers, counts) == tuple(each.tolist() for each in wanted)


def test_statistics_come_back_from_arrow_also_from_a_part_of_a_column():
    scores = np.random.default_rng(2).normal(0, 3, (20, 6)).astype(np.float32)
    stored = statistics(scores).to_arrow()
    for part in (slice(0, 6), slice(2, 5)):
        found = Statistics.from_arrow(stored[part]).table_columns()
        wanted = statistics(scores[:, part]).table_columns()
        assert all(np.array_equal(found[name], wanted[name]) for name in wanted if name not in ("bins", "counts"))
        assert all(found[name].to_pylist() == wanted[name].to_pylist() for name in ("bins", "counts"))
