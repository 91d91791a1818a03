"""Similarity of projections against SciPy's rank correlation and scikit-image's structural similarity."""

import numpy as np
import pytest

from workers.core.similarity import Projection, Similarity

scipy_stats = pytest.importorskip("scipy.stats")
skimage_metrics = pytest.importorskip("skimage.metrics")


def map_(seed: int, height: int = 24, width: int = 31) -> np.ndarray:
    """A float32 projection with many equal values: a tenth of it is 0, the rest coarse."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(3, height, width)).round(1)
    return (values * (random.random(values.shape) > 0.1)).astype(np.float32)


def theirs(one: np.ndarray, other: np.ndarray) -> Similarity:
    grey = [np.abs(each).sum(0, dtype=np.float64) for each in (one, other)]
    scaled = [each / each.max() for each in grey]
    return Similarity(
        scipy_stats.spearmanr(one.ravel(), other.ravel()).statistic,
        scipy_stats.spearmanr(np.abs(one).ravel(), np.abs(other).ravel()).statistic,
        skimage_metrics.structural_similarity(*scaled, data_range=1.0),
    )


@pytest.mark.parametrize("mixed", [0.0, 0.3, -0.9])
@pytest.mark.parametrize("shape", [(24, 31), (7, 9)])
def test_equals_scipys_rank_correlation_and_scikit_images_similarity(mixed, shape):
    one = map_(1, *shape)
    other = (mixed * one + map_(2, *shape)).astype(np.float32)
    ours, wanted = Projection(one).similarity_to(Projection(other)), theirs(one, other)
    assert vars(ours) == pytest.approx(vars(wanted), rel=1e-10, abs=1e-12)


def test_equal_projections_are_exactly_alike_and_opposite_ones_in_their_absolute_values():
    one = Projection(map_(3, 224, 224))
    assert one.similarity_to(Projection(one.signal.copy())) == Similarity(1.0, 1.0, 1.0)
    assert one.similarity_to(Projection(-one.signal)) == Similarity(-1.0, 1.0, 1.0)


def test_neither_scale_changes_anything():
    one, other = map_(4), map_(5)
    wanted = vars(Projection(one).similarity_to(Projection(other)))
    assert vars(Projection(one * 1024).similarity_to(Projection(other / 4096))) == pytest.approx(wanted, rel=1e-12)


def test_what_is_not_defined_is_none():
    one, blank = Projection(map_(6)), Projection(np.zeros((3, 24, 31), np.float32))
    assert blank.blank and not one.blank
    assert one.similarity_to(blank) == blank.similarity_to(one) == Similarity(None, None, None)
    small = one.signal[:, :6]
    assert Projection(small).similarity_to(Projection(small)) == Similarity(
        1.0, 1.0, None
    )  # lower than the window of 7 px
