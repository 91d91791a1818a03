"""Whether both passes mean the same unit."""

import numpy as np

from workers.project import AGREEMENT, disagreeing
from workers.spec import Precision


def test_a_sum_that_cancels_out_may_differ_by_the_rounding_of_its_terms():
    scores = np.float32([8.0, 0.02095, 0.0])
    assert not disagreeing(scores, np.float32([8.01, 0.02016, 0.001]), AGREEMENT[Precision.FLOAT16]).any()


def test_another_image_or_another_place_is_noticed():
    scores = np.float32([8.0, 4.0, 0.5])
    found = disagreeing(scores, np.float32([8.0, 4.1, 0.5]), AGREEMENT[Precision.FLOAT32])
    assert found.tolist() == [False, True, False]


def test_a_dead_layer_agrees_with_itself_alone():
    assert not disagreeing(np.zeros(2, np.float32), np.zeros(2, np.float32), 1e-3).any()
    assert disagreeing(np.zeros(2, np.float32), np.float32([0, 0.1]), 1e-3).tolist() == [False, True]
