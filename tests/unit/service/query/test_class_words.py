"""Words of ImageNet's classes, against what is known of them: torchvision's names, and the ranges of well-known groups."""

import pytest
from torchvision.models._meta import _IMAGENET_CATEGORIES as NAMES

from service.query import catalog, class_words
from tests.support.published import publish
from workers.store.root import Root

LABELLED = {"source": "torchvision://squeezenet1_1", "fingerprint": "none"}


def words_of(names, tmp_path, **more):
    root = Root(str(tmp_path))
    publish(root, model=LABELLED | {"class_names": names, **more}, predicted=[(0, names[0])] * 12)
    return class_words.of_run(catalog.find(root))[1]


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return words_of(NAMES, tmp_path_factory.mktemp("root"))


@pytest.mark.parametrize(
    ("word", "classes"),
    [
        ("dog", {*range(151, 269)}),
        ("domestic cat", {*range(281, 286)}),
        ("bird", {*range(7, 25), *range(80, 101), *range(127, 147)}),
        ("snake", {*range(52, 69)}),
        ("spider", {*range(72, 78)}),
        ("shark", {2, 3, 4}),
    ],
)
def test_a_word_finds_every_class_below_it(words, word, classes):
    assert {number for number, own in enumerate(words) if word in own} == classes


def test_every_class_has_words_and_a_thing_is_no_animal(words):
    assert all(words) and "animal" not in words[NAMES.index("laptop")] and "vehicle" in words[NAMES.index("ambulance")]
    assert {number for number, own in enumerate(words) if "animal" in own} == {*range(398)}


def test_other_networks_and_a_users_own_words_are_left_alone(tmp_path):
    assert not any(words_of(NAMES[::-1], tmp_path / "reversed")[:100])
    assert not any(words_of(("Chihuahua", "airplane"), tmp_path / "small"))
    assert words_of(NAMES[:2], tmp_path / "own", class_words=("Swimmer,  fin ", "")) == (
        frozenset({"swimmer", "fin"}),
        frozenset(),
    )
    assert len(words_of((*NAMES, "unknown"), tmp_path / "more")) == 1001
