"""Run rounds of chaos, one after the other. A round in which a promise breaks ends it; its number runs it again."""

import argparse
import tempfile
from pathlib import Path

from tests.chaos.rounds import Chaos
from tests.model.life import make_corpus


def main() -> None:
    """Run the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--rounds", type=int, default=1000, help="how many")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="chaos"))
    (folder / "photos").mkdir()
    with Chaos(folder, make_corpus(folder / "photos")) as chaos:
        for number in range(options.first, options.first + options.rounds):
            told = chaos.round(number)
            faults = "; ".join(f"{at} s: {name}" for at, name in told.faults)
            ends = ", ".join(f"{count} {end}" for end, count in told.ends.items())
            print(f"{number}: {told.seconds:.1f} s, {told.longest_silence_s} s of silence; {faults}; {ends}", flush=True)


if __name__ == "__main__":
    main()
