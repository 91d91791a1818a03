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


def test_of_long_values_the_part_that_differs_is_shown():
    files = [f"/data/training/epoch-{number:03}.pth" for number in range(37)]
    words = differences({"files": files[:36]}, {"files": files})
    was, now = words.removeprefix("files was ").split(" and is now ")
    assert (
        was.endswith('epoch-035.pth"]')
        and now.endswith('epoch-036.pth"]')
        and was.startswith("...")
        and now.startswith("...")
    )
    changed = [*files[:9], "/data/Bäume.pth", *files[10:]]
    was, now = differences({"files": files}, {"files": changed}).removeprefix("files was ").split(" and is now ")
    assert "epoch-009.pth" in was and "Bäume" in now and len(was) == len(now) == LONGEST + 6


def test_a_value_from_a_file_cannot_end_the_line():
    assert differences({"a": 1}, {"a": "x\ny"}) == r'a was 1 and is now "x\ny"'
