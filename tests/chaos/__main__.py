"""Run rounds of chaos; with `--write`, add them to those in docs/proof.md.

A round in which a promise breaks ends it; `--first N --rounds 1` runs round N again.
"""

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.chaos.faults import FAULTS
from tests.chaos.rounds import Chaos
from tests.chaos.scene import Broken, Round
from tests.model.life import make_corpus
from tests.support import proof

RECORD = proof.REPOSITORY / proof.RECORD  # one line for each time that rounds were run


def main() -> None:
    """Run the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--rounds", type=int, default=1000, help="how many")
    parser.add_argument("--write", action="store_true", help="add the rounds to those in docs/proof.md")
    options = parser.parse_args()
    commit = proof.commit()
    done, broken = list[Round](), list[str]()
    with tempfile.TemporaryDirectory(prefix="chaos", ignore_cleanup_errors=True) as folder:
        corpus = Path(folder) / "photos"
        corpus.mkdir()
        try:
            with Chaos(Path(folder), make_corpus(corpus)) as chaos:
                for number in range(options.first, options.first + options.rounds):
                    done.append(chaos.round(number))
                    print(done[-1], flush=True)
        except Exception as error:
            number = options.first + len(done)
            reason = str(error).partition(";")[0]  # without the round's faults and folder
            broken = [reason if isinstance(error, Broken) else f"round {number} ended with a {type(error).__name__}"]
            raise
        finally:
            if options.write and (done or broken):
                with RECORD.open("a") as record:
                    print(json.dumps(_piece(commit, options.first, done, broken)), file=record)
                proof.write("chaos", table())


def _piece(commit: str, first: int, done: list[Round], broken: list[str]) -> dict[str, Any]:
    """What the record keeps of some rounds."""
    return {
        "commit": commit,
        "first": first,
        "rounds": len(done) + len(broken),
        "broken": broken,
        "seconds": round(sum(outcome.seconds for outcome in done)),
        "silence_s": max((outcome.longest_silence_s for outcome in done), default=0.0),
        "faults": Counter(name for outcome in done for _, name in outcome.faults),
        "ends": sum((outcome.ends for outcome in done), Counter()),
    }


def table() -> list[str]:
    """All rounds of the record, as Markdown."""
    pieces = [json.loads(line) for line in RECORD.read_text().splitlines()]
    faults, ends = (_sum(piece[key] for piece in pieces) for key in ("faults", "ends"))
    commits = list(dict.fromkeys(piece["commit"] for piece in pieces))
    kept, broken = _kept(pieces), [(piece["commit"], line) for piece in pieces for line in piece["broken"]]
    open_ones = sorted({_number_of(line) for _, line in broken} - set(kept))
    about = [
        f"{len(kept):,} rounds kept every promise, with {faults.total():,} faults in all. {_sum_up(len(broken), open_ones)}",
        f"The longest time without output was {max(piece['silence_s'] for piece in pieces):.0f} s.",
        f"Processes that ran the command: {', '.join(f'{count:,} {end}' for end, count in sorted(ends.items()))}.",
    ]
    return [
        "\n".join(about),
        *_table("commit", "rounds", [(commit, rounds) for commit in commits if (rounds := _ranges(kept, commit))]),
        *(_table("broken promise", "commit", [(_short(line), commit) for commit, line in broken]) if broken else ()),
        *_table("fault", "times", [(name, f"{faults[name]:,}") for name in FAULTS]),
    ]


def _kept(pieces: Iterable[dict[str, Any]]) -> dict[int, str]:
    """The rounds that kept every promise, each with the last commit at which it did."""
    kept: dict[int, str] = {}
    for piece in pieces:
        broken = set(map(_number_of, piece["broken"]))
        numbers = range(piece["first"], piece["first"] + piece["rounds"])
        kept |= dict.fromkeys(set(numbers) - broken, piece["commit"])
        kept = {number: commit for number, commit in kept.items() if number not in broken}
    return kept


def _number_of(broken: str) -> int:
    """The number of a round that broke a promise, from what was recorded: "round 16: ..."."""
    return int(broken.split()[1].rstrip(":"))


def _short(broken: str) -> str:
    """The broken promise, without the driver's output."""
    return broken.partition(", saying")[0]


def _sum_up(broken: int, open_ones: list[int]) -> str:
    if not broken:
        return "No promise was broken."
    if open_ones:
        return f"{broken} rounds broke one; not run again since: {', '.join(map(str, open_ones))}."
    return f"{broken} of them had broken one in an earlier run; the causes are above."


def _ranges(kept: dict[int, str], commit: str) -> str:
    """The rounds that a commit kept: "0 to 15, 40"; empty if all were run again later."""
    numbers = sorted(number for number, at in kept.items() if at == commit)
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _table(first: str, second: str, rows: Iterable[tuple[str, str]]) -> list[str]:
    return ["", f"| {first} | {second} |", "|---|---|", *(f"| {left} | {right} |" for left, right in rows)]


def _sum(counts: Iterable[dict[str, int]]) -> Counter[str]:
    return sum(map(Counter, counts), Counter())


if __name__ == "__main__":
    main()
