"""Whether both passes mean the same unit."""

import numpy as np

from workers.actors.project import disagreeing
from workers.spec.parts import Precision


def test_a_sum_that_cancels_out_may_differ_by_the_rounding_of_its_terms():
    alone = disagreeing(np.array([0.02095], np.float32), np.array([0.02016], np.float32), 8.0, Precision.FLOAT16)
    assert not alone.any()  # beside outputs of 8 elsewhere in the run
    assert disagreeing(
        np.array([0.02095], np.float32), np.array([0.02016], np.float32), 0.02095, Precision.FLOAT16
    ).all()


def test_another_image_or_another_place_is_noticed():
    found = disagreeing(
        np.array([8.0, 4.0, 0.5], np.float32), np.array([8.0, 4.1, 0.5], np.float32), 8.0, Precision.FLOAT32
    )
    assert found.tolist() == [False, True, False]


def test_what_is_no_number_agrees_with_nothing():
    assert disagreeing(
        np.array([8.0, 1.0], np.float32), np.array([np.nan, 1.0], np.float32), 8.0, Precision.FLOAT32
    ).tolist() == [
        True,
        False,
    ]


def test_a_dead_layer_agrees_with_itself_alone():
    assert not disagreeing(np.zeros(2, np.float32), np.zeros(2, np.float32), 0.0, Precision.FLOAT32).any()
    found = disagreeing(np.zeros(2, np.float32), np.array([0, 0.1], np.float32), 0.0, Precision.FLOAT32)
    assert found.tolist() == [False, True]
