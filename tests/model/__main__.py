"""Live many lives of a run, and put faults into the code; with `--write`, record the result in docs/proof.md.

A life in which an invariant breaks ends it; `--first N --numbers 1` lives the lives of number N again.
"""

import argparse
import tempfile
from pathlib import Path

from tests.model.faults import find_fault
from tests.model.life import LIVES, Life, live, make_corpus
from tests.model.mutations import MUTATIONS
from tests.model.store import FaultKind
from tests.support import proof


def main() -> None:
    """Live, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="number of the first lives")
    parser.add_argument("--numbers", type=int, default=100, help=f"how many numbers, of {LIVES} lives each")
    parser.add_argument("--write", action="store_true", help="record the result in docs/proof.md")
    options, commit = parser.parse_args(), proof.commit()
    with tempfile.TemporaryDirectory() as folder:
        corpus = make_corpus(Path(folder))
        for number in range(options.first, options.first + options.numbers):
            live(corpus, number, LIVES)
            print(f"number {number}: {Life.lives} lives, {sum(Life.injected.values())} faults", flush=True)
        lines = [*_lives(commit, options.first, options.numbers), *_faults(corpus)]
    if options.write:
        proof.write("lives", lines)
    else:
        print("\n".join(lines))


def _lives(commit: str, first: int, numbers: int) -> list[str]:
    """What the lives met."""
    ends = ", ".join(f"{count:,} {end}" for end, count in sorted(Life.ends.items()))
    about = (
        f"Seeds {first} to {first + numbers - 1} at commit {commit}: {Life.lives:,} lives. No invariant was violated."
    )
    rows = [f"| {kind} | {Life.injected[kind]:,} |" for kind in FaultKind]
    return [
        about,
        f"Attempts before the last one of each life: {ends}.",
        "",
        "| an operation of the store | times |",
        "|---|---|",
        *rows,
    ]


def _faults(corpus: Path) -> list[str]:
    """What shows each fault in the code."""
    rows = []
    for name in MUTATIONS:
        lives, line = find_fault(corpus, name)
        print(f"{name}: shows after {lives} lives: {line}", flush=True)
        rows.append(f"| {name} | {lives} | {line.replace('|', '/')} |")
    return ["", "| fault in the code | lives until detection | detected by |", "|---|---|---|", *rows]


if __name__ == "__main__":
    main()
