"""More words for a network's classes. Takes their names, or the user's file, gives for each class the words that find it.

Words of ImageNet's classes are those of WordNet 3.0: of the class, and of every concept above it, such as `dog` and `animal`.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from service.query.catalog import PublishedRun
from workers.models import classes

IMAGENET = (
    Path(__file__).parent / "words" / "imagenet.tsv"
)  # a line: words, a tab, and the lines of the concepts above it
IMAGENET_CLASSES = 1000  # the first lines, in the order of a network's outputs

Words = frozenset[str]


def of_run(run: PublishedRun, path: str | None = None) -> tuple[tuple[str, ...], tuple[Words, ...]]:
    """The names of a run's classes, and for each class the words that find it, besides its name.

    Args:
        run: a scan with predictions.
        path: a file with a line for each class, as a scan's `--classes`; it replaces names and words.

    Raises:
        ModelError: the file cannot be read, or its number of lines is not that of the classes.
    """
    names, words = classes.read(path, len(run.class_names)) if path else (run.class_names, run.class_words)
    if not any(words):
        return names, tuple(_of_imagenet(number, name) for number, name in enumerate(names))
    return names, tuple(frozenset(split(text)) for text in words)


def of_name(name: str) -> Words:
    """The words of a name: the whole name and, if it has commas, its parts."""
    return frozenset((*split(name), " ".join(name.lower().split()))) - {""}


def split(text: str) -> Iterator[str]:
    """The words of a text that separates them by commas, in lower case and without superfluous spaces."""
    return (plain for part in text.split(",") if (plain := " ".join(part.lower().split())))


def contains(text: str, word: str) -> bool:
    """Whether a text contains another as a word of its own."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None


def _of_imagenet(number: int, name: str) -> Words:
    """The words of ImageNet's class of a number, if a class of this name is that class; else none."""
    if number >= IMAGENET_CLASSES:
        return frozenset()
    own, _ = _lines()[number]
    is_same = any(contains(part, word) for part in split(name) for word in own)
    return _with_concepts_above(number) if is_same else frozenset()


@cache
def _with_concepts_above(line: int) -> Words:
    own, above = _lines()[line]
    return own.union(*map(_with_concepts_above, above))


@cache
def _lines() -> Sequence[tuple[Words, tuple[int, ...]]]:
    """Each line of the file: its words, and the lines above it."""
    lines = (line.partition("\t") for line in IMAGENET.read_text(encoding="utf-8").splitlines())
    return [(frozenset(split(words)), tuple(map(int, above.split()))) for words, _, above in lines]
