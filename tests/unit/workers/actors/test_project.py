"""Whether both passes mean the same unit."""

import numpy as np

from workers.actors.project import find_disagreements
from workers.spec.parts import Precision


def test_a_sum_that_cancels_out_may_differ_by_the_rounding_of_its_terms():
    alone = find_disagreements(
        np.array([0.02095], np.float32), np.array([0.02016], np.float32), 8.0, Precision.FLOAT16, 0.0
    )
    assert not alone.any()  # beside outputs of 8 elsewhere in the run
    assert find_disagreements(
        np.array([0.02095], np.float32), np.array([0.02016], np.float32), 0.02095, Precision.FLOAT16, 0.0
    ).all()


def test_another_image_or_another_place_is_noticed():
    found = find_disagreements(
        np.array([8.0, 4.0, 0.5], np.float32), np.array([8.0, 4.1, 0.5], np.float32), 8.0, Precision.FLOAT32, 0.0
    )
    assert found.tolist() == [False, True, False]


def test_what_is_no_number_agrees_with_nothing():
    assert find_disagreements(
        np.array([8.0, 1.0], np.float32), np.array([np.nan, 1.0], np.float32), 8.0, Precision.FLOAT32, 0.0
    ).tolist() == [
        True,
        False,
    ]


def test_a_dead_layer_agrees_with_itself_alone():
    assert not find_disagreements(np.zeros(2, np.float32), np.zeros(2, np.float32), 0.0, Precision.FLOAT32, 0.0).any()
    found = find_disagreements(np.zeros(2, np.float32), np.array([0, 0.1], np.float32), 0.0, Precision.FLOAT32, 0.0)
    assert found.tolist() == [False, True]


def test_a_measured_tolerance_widens_the_bound_and_never_narrows_it():
    scores, values = np.array([8.0, 8.0], np.float32), np.array([8.5, 11.0], np.float32)
    for tolerance, found in ((0.0, [False, True]), (0.01, [False, True]), (3.5, [False, False])):
        assert find_disagreements(scores, values, 8.0, Precision.BFLOAT16, tolerance).tolist() == found
