"""Messages about specs that differ name the keys with both values."""

import pytest

from workers.spec.differences import LONGEST, differences

BEFORE = {"model": {"source": "a", "classes": None}, "scan": {"k": 9, "layers": ["x", "y"]}}


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({**BEFORE, "model": {"source": "a"}}, "in keys without a value"),
        ({**BEFORE, "model": {"source": "a", "classes": "w.txt"}}, 'model.classes was not set and is now "w.txt"'),
        ({**BEFORE, "scan": {"k": 4, "layers": ["x"]}}, 'scan.k was 9 and is now 4; scan.layers was ["x", "y"] and is now ["x"]'),
        ({**BEFORE, "corpus": {"limit": 5}}, "corpus.limit was not set and is now 5"),
        ({"model": {"source": "a"}, "scan": {"k": 9}}, 'scan.layers was ["x", "y"] and is now not set'),
    ],
)  # fmt: skip
def test_keys_that_differ_are_named_with_both_values(now, words):
    assert differences(BEFORE, now) == words


def test_of_many_keys_a_few_are_named_and_long_values_are_cut():
    words = differences(None, {letter: letter * 500 for letter in "abcde"})
    assert words.endswith("2 more differ") and words.count("was not set") == 3
    assert all(len(part) < LONGEST + 40 for part in words.split("; "))


def test_a_value_from_a_file_cannot_end_the_line():
    assert differences({"a": 1}, {"a": "x\ny"}) == r'a was 1 and is now "x\ny"'
