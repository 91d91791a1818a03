"""All benchmarks of the scan. Prints each figure, and writes them to docs/benchmarks.md, .json and .png.

Without `--full`, fewer images and rounds: under ten minutes on two cores. ResNet-50 and 100,000 null shards need `--full`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.benchmarks import actors, bookkeeping, command, decoding, driver, projections, rivals, scan_ratio
from tests.benchmarks.figures import Figure, Sections, decode, encode, machine, table

DOCS = Path(__file__).parents[2] / "docs"
RECORD = DOCS / "benchmarks.json"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
COLOURS = {"deconvoy": "#1f5fa8"}
OTHERS = "#b8b8b8"
Section = tuple[str, Callable[[bool], Iterator[Figure]]]


def against_rivals(full: bool) -> Iterator[Figure]:
    """The first pass against other tools, two cores."""
    networks = ["alexnet", "squeezenet1_1", "resnet18", *(["resnet50"] if full else [])]
    return rivals.figures(networks, 256 if full else 192, 5 if full else 2)


def against_forward(full: bool) -> Iterator[Figure]:
    """The first pass against decoding and the forward pass alone, one thread."""
    flags = ["--images", "256", "--rounds", "5"] if full else ["--images", "256", "--rounds", "2"]
    asked = scan_ratio.arguments().parse_args(flags)
    names = list(scan_ratio.GOALS) if full else [name for name in scan_ratio.GOALS if name != "resnet50"]
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            yield from scan_ratio.figures(name, asked, Path(scratch))


def second_pass(full: bool) -> Iterator[Figure]:
    """Projections against Captum's, one thread."""
    for network in ("alexnet", "resnet18") if full else ("alexnet",):
        yield from projections.figures(network, 256 if full else 96, 8 if full else 4, 3 if full else 1)


def parts_of_an_actor(full: bool) -> Iterator[Figure]:
    """Bookkeeping, decoding, and how actors add up."""
    rounds = 5 if full else 3
    yield from bookkeeping.figures(512, rounds)
    yield from decoding.figures(960, rounds)
    yield from actors.figures("resnet18", 256 if full else 128, rounds)


def the_driver(full: bool) -> Iterator[Figure]:
    """What the driver does per shard, and how long the command takes to start."""
    yield from driver.reduce_figures(2500)
    yield from driver.null_figures(100_000 if full else 5_000)
    yield from command.figures(7 if full else 3)


SECTIONS: Sequence[Section] = (
    ("The first pass against other tools, two cores", against_rivals),
    ("The first pass against its parts, one thread", against_forward),
    ("Projections against Captum, one thread", second_pass),
    ("Parts of an actor", parts_of_an_actor),
    ("The driver, and the command", the_driver),
)


def write(sections: Sections) -> None:
    """Write the measured block of the page, the JSON and the plot."""
    page = DOCS / "benchmarks.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    tables = "\n\n".join(f"### {title}\n\n{table(figures)}" for title, figures in sections.items())
    block = f"{BEGIN}\n\nMachine: {machine()}.\n\n{tables}\n\n{END}"
    page.write_text(before + block + after, encoding="utf-8")
    RECORD.write_text(encode(sections), encoding="utf-8")
    plot(sections[SECTIONS[0][0]], DOCS / "benchmarks.png")


def plot(figures: Sequence[Figure], target: Path) -> None:
    """Draw the rates of all tools, one panel per network."""
    from matplotlib.figure import Figure as Page

    rates: dict[str, dict[str, Figure]] = {}
    for figure in figures:
        network, _, name = figure.what.partition(": ")
        if figure.unit:
            rates.setdefault(network, {})[name] = figure
    page = Page(figsize=(3.1 * len(rates), 2.6), layout="constrained")
    for axes, (network, found) in zip(page.subplots(1, len(rates), squeeze=False)[0], rates.items(), strict=True):
        ranked = sorted(found.items(), key=lambda item: item[1].median)
        for place, (name, figure) in enumerate(ranked):
            least, most = (abs(end(figure.values) - figure.median) for end in (min, max))
            axes.barh(place, figure.median, color=COLOURS.get(name, OTHERS), xerr=[[least], [most]], error_kw={"lw": 1})
            label = f" {figure.median:.0f}" if figure.median >= 10 else f" {figure.median:.1f}"
            axes.text(max(figure.values), place, label, va="center", fontsize=8)
        axes.set_yticks(range(len(ranked)), [name.replace("_", "-") for name, _ in ranked], fontsize=8)
        axes.set_xlim(0, 1.2 * max(max(figure.values) for figure in found.values()))
        axes.set_title(network, fontsize=9)
        axes.set_xlabel("images/s, two cores", fontsize=8)
        axes.tick_params(axis="x", labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    page.savefig(target, dpi=160)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--full", action="store_true", help="more images and rounds, ResNet-50, 100,000 null shards")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of the sections to measure; the others are kept")
    asked = parser.parse_args()
    os.environ.setdefault("TQDM_DISABLE", "1")
    if asked.only is None:  # each in a process of its own, because torch's threads and memory outlive a measurement
        for number in range(1, len(SECTIONS) + 1):
            words = [
                sys.executable,
                "-m",
                "tests.benchmarks",
                "--only",
                str(number),
                *(["--full"] if asked.full else []),
            ]
            subprocess.run(words, check=True)
        return
    kept = decode(RECORD.read_text(encoding="utf-8"))
    sections: dict[str, list[Figure]] = {}
    for number, (title, measure) in enumerate(SECTIONS, 1):
        sections[title] = list(kept.get(title, ()))
        if number in asked.only:
            print(f"== {title}", flush=True)
            sections[title] = []
            for figure in measure(asked.full):
                print(figure, flush=True)
                sections[title].append(figure)
    write(sections)
    missed = [figure for figures in sections.values() for figure in figures if figure.reached is False]
    sys.stdout.write(f"{len(missed)} goals missed\n")


if __name__ == "__main__":
    main()
