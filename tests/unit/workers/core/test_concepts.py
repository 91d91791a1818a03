"""Directions of channels and maps of them: by another road, and by what a map promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.manifold import trustworthiness

from workers.core import concepts


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@given(st.integers(1, 12), st.integers(2, 9), st.integers(0, 10_000))
def test_a_direction_is_the_normalised_sum_and_its_agreement_the_mean_cosine_of_all_pairs(patches, dimensions, seed):
    vectors = unit(np.random.default_rng(seed).normal(size=(patches, dimensions)))
    direction, agreement = concepts.direction(vectors)
    total = [sum(float(vector[axis]) for vector in vectors) for axis in range(dimensions)]
    length = sum(value * value for value in total) ** 0.5
    np.testing.assert_allclose(direction, [value / length for value in total], atol=1e-5)
    cosines = [float(one.astype(float) @ other.astype(float)) for one in vectors for other in vectors]
    assert agreement**2 == pytest.approx(np.mean(cosines), abs=1e-5)


def test_embeddings_that_cancel_out_have_no_direction():
    direction, agreement = concepts.direction(np.array([[1, 0], [-1, 0]], np.float32))
    assert agreement == 0 and not direction.any()


def test_equal_patches_agree_completely():
    vector = unit(np.array([[3.0, 4.0]]))
    direction, agreement = concepts.direction(np.repeat(vector, 9, axis=0))
    assert agreement == pytest.approx(1) and direction == pytest.approx(vector[0])


@pytest.fixture(scope="module")
def clusters() -> np.ndarray:
    """Four bundles of directions, 20 in each."""
    noise = np.random.default_rng(5)
    return unit(np.repeat(np.eye(4, 16), 20, axis=0) + 0.15 * noise.normal(size=(80, 16)))


def test_a_map_keeps_neighbours_together_and_depends_on_the_seed_alone(clusters):
    places = concepts.map_of(clusters, 0)
    assert trustworthiness(clusters, places, n_neighbors=5, metric="cosine") > 0.85
    assert np.array_equal(places, concepts.map_of(clusters, 0))
    for axis in range(2):
        np.testing.assert_allclose(np.sort(places[:, axis]), np.linspace(0, 1, 80), atol=1e-6)


@pytest.mark.parametrize("count", range(12))
def test_maps_of_few_channels_have_a_place_for_each(count):
    places = concepts.map_of(unit(np.random.default_rng(1).normal(size=(count, 8))), 3)
    assert places.shape == (count, 2) and ((places >= 0) & (places <= 1)).all()
    assert len({tuple(place) for place in places.tolist()}) == count
