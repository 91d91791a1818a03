"""Keys of corpora that the first runs did not have leave no trace at their defaults."""

import pytest

from workers.corpus import manifest
from workers.spec.parts import CorpusSpec


def test_a_corpus_without_the_new_keys_keeps_its_identity_and_its_listings():
    corpus = CorpusSpec(source="/photos")
    assert corpus.model_dump(mode="json") == {"source": "/photos", "label": "folder", "group": "none"}
    assert manifest._corpus_hash(corpus) == "3f1b9e6cbbfcfd7a2becf0579a0e6c8f"


@pytest.mark.parametrize(
    "keys",
    [
        {"include_hidden": True},
        {"extensions": ("JPG",)},
        {"limit": 1},
        {"sample": 9},
        {"id_column": "id"},
        {"within": "/a"},
        {"image_column": "image"},
        {"label_names": "/n.txt"},
    ],
)
def test_a_key_that_is_given_counts(keys):
    plain, corpus = CorpusSpec(source="/photos"), CorpusSpec(source="/photos", **keys)
    assert set(corpus.model_dump()) - set(plain.model_dump()) == set(keys)
    assert manifest._corpus_hash(corpus) != manifest._corpus_hash(plain)
    assert CorpusSpec(**corpus.model_dump(mode="json")) == corpus
