"""Two floating-point formats compared: top sets against sorting by hand, differences against their definition."""

import numpy as np

from workers.core.agreement import TOP, differing_sets, relative_difference


def sets_by_hand(scores: np.ndarray) -> list[set[int]]:
    return [set(sorted(range(len(scores)), key=lambda n: (-each[n], n))[:TOP]) for each in scores.T]


def test_channels_differ_if_their_best_images_do_whatever_the_order():
    draw = np.random.default_rng(0)
    exact = draw.normal(size=(40, 200)).astype(np.float32)
    rounded = (exact + draw.normal(scale=0.02, size=exact.shape)).astype(np.float32)
    pairs = zip(sets_by_hand(exact), sets_by_hand(rounded), strict=True)
    expected = sum(one != other for one, other in pairs)
    assert 0 < expected < 200 and differing_sets(exact, rounded) == expected
    assert differing_sets(exact, exact * 2) == 0


def test_dead_channels_and_small_samples_agree():
    assert differing_sets(np.zeros((30, 5), np.float32), np.zeros((30, 5), np.float32)) == 0
    few = np.random.default_rng(1).normal(size=(TOP, 5)).astype(np.float32)
    assert differing_sets(few, -few) == 0  # all images are among the best
    assert differing_sets(few[:0], few[:0]) == 0


def test_a_difference_is_relative_to_the_largest_magnitude():
    exact = np.array([[1.0, -8.0], [2.0, 0.0]], np.float32)
    assert relative_difference(exact, exact + np.array([[0.5, 0.0], [0.0, -2.0]], np.float32)) == 0.25
    assert relative_difference(np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32)) == 0.0
