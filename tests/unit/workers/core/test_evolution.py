"""How channels change over a training, told again in plain words."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workers.core import evolution
from workers.core.topk import Rows


def top(sets: list[dict[int, float]]) -> Rows:
    """Top rows of a layer: for each channel scores by image."""
    rows = [(channel, image, score) for channel, scores in enumerate(sets) for image, score in scores.items()]
    channel, image, score = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    return Rows.make(layer_index=0, channel=channel, image_index=image, score=score, key=image)


def test_the_overlap_is_the_share_of_awake_images_in_common_with_the_last_checkpoint():
    first = top([{1: 3.0, 2: 2.0, 3: 1.0}, {1: 0.0}, {5: 0.0}])
    last = top([{2: 9.0, 3: 8.0, 4: 7.0, 5: 6.0}, {7: 1.0}, {6: 0.0}])
    found = evolution.overlaps([first, last], 3)
    assert found[0].tolist()[:2] == [2 / 4, 0.0] and found[1].tolist()[:2] == [1.0, 1.0]
    assert np.isnan(found[:, 2]).all()  # nothing wakes it


def test_a_channel_has_settled_from_the_first_checkpoint_on_after_which_it_never_falls_below():
    by_channel = [
        [0.2, 0.6, 0.4, 0.5, 1.0],
        [0.5, 0.9, 0.9, 0.9, 1.0],
        [0.9, 0.9, 0.9, 0.1, 1.0],
        [0.9, 0, 0, 0, np.nan],
    ]
    assert evolution.settled_since(np.array(by_channel).T, 0.5).tolist() == [3, 0, 4, -1]


@given(st.lists(st.lists(st.sampled_from([0.0, 0.4, 0.5, 0.7, 1.0]), min_size=5, max_size=5), min_size=1, max_size=6))
def test_settling_is_what_a_loop_says(by_channel):
    found = evolution.settled_since(np.array(by_channel).T, 0.5)
    for course, since in zip(by_channel, found.tolist(), strict=True):
        wanted = next((n for n in range(5) if all(share >= 0.5 for share in course[n:])), 5)
        assert since == wanted
