"""The words of ImageNet's classes, made again. Takes the folder of WordNet 3.0, writes imagenet.tsv.

python -m tests.support.wordnet /usr/share/wordnet

Debian's package `wordnet-base` has the database. timm has the order of the classes.
"""

import sys
from pathlib import Path

from timm.data.imagenet_info import ImageNetInfo

TARGET = Path(__file__).parents[2] / "service" / "query" / "words" / "imagenet.tsv"
HYPERNYM, OF_INSTANCE = "@", "@i"

Synset = tuple[list[str], list[str]]  # its words, and the numbers of the synsets above it


def main() -> None:
    """Write a line for each class, in order, and then for each synset above: its words, a tab, the lines above it."""
    synsets = dict(map(_synset, _lines(Path(sys.argv[1]) / "data.noun")))
    numbers = [name.removeprefix("n") for name in ImageNetInfo("imagenet-1k").label_names()]
    for number in numbers:  # grows
        numbers += [above for above in synsets[number][1] if above not in numbers]
    lines = {number: line for line, number in enumerate(numbers)}
    with TARGET.open("w", encoding="utf-8", newline="\n") as file:
        for number in numbers:
            words, above = synsets[number]
            file.write(f"{', '.join(words)}\t{' '.join(str(lines[each]) for each in above)}\n")


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith("  ")]  # the licence is indented


def _synset(line: str) -> tuple[str, Synset]:
    """A synset's number, words and hypernyms, as wndb(5WN) describes a line."""
    fields = line.split(" | ")[0].split()
    pointers = 4 + 2 * int(fields[3], 16)
    words = [word.replace("_", " ") for word in fields[4:pointers:2]]
    above = [
        fields[first + 1]
        for first in range(pointers + 1, pointers + 1 + 4 * int(fields[pointers]), 4)
        if fields[first] in (HYPERNYM, OF_INSTANCE)
    ]
    return fields[0], (words, above)


if __name__ == "__main__":
    main()
