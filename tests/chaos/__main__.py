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

RECORD = Path(__file__).with_name("record.jsonl")  # one line for each time that rounds were run


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
    rounds = ", ".join(f"{_numbers(piece)} at commit {piece['commit']}" for piece in pieces)
    faults, ends = (_sum(piece[key] for piece in pieces) for key in ("faults", "ends"))
    broken = [f"{line} (commit {piece['commit']})" for piece in pieces for line in piece["broken"]]
    about = [
        f"{sum(piece['rounds'] for piece in pieces):,} rounds ({rounds}) with {faults.total():,} faults. "
        + ("No promise was broken." if not broken else f"Broken promises: {'; '.join(broken)}."),
        f"The longest time without output was {max(piece['silence_s'] for piece in pieces):.0f} s.",
        f"Processes that ran the command: {', '.join(f'{count:,} {end}' for end, count in sorted(ends.items()))}.",
    ]
    return [
        "\n".join(about),
        "",
        "| fault | times |",
        "|---|---|",
        *(f"| {name} | {faults[name]:,} |" for name in FAULTS),
    ]


def _numbers(piece: dict[str, Any]) -> str:
    """The rounds of a piece: "3" or "0 to 16"."""
    first, last = piece["first"], piece["first"] + piece["rounds"] - 1
    return str(first) if first == last else f"{first} to {last}"


def _sum(counts: Iterable[dict[str, int]]) -> Counter[str]:
    return sum(map(Counter, counts), Counter())


if __name__ == "__main__":
    main()
