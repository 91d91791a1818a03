"""Which networks work. Checks torchvision's convolutional classifiers and one network of each of timm's families, writes a page.

Run it as `python -m tests.networks`; it takes about an hour. It adds each result to
`tests/support/networks.jsonl`, and takes those of the same versions that are there already, so that an interrupted run
continues. `tests/unit/workers/core/test_networks.py` checks a few networks each time, and all of them in `make soak`.
"""

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
import torchvision
from torch import nn

from tests.support.checked import TOLERANCE, Checked, check
from workers.errors import DeconvoyError
from workers.models.families.torchvision import BARE, INCEPTIONS

PAGE = Path(__file__).parents[1] / "docs" / "networks.md"
FAMILIES = Path(__file__).parent / "support" / "timm_families.txt"
LOG = Path(__file__).parent / "support" / "networks.jsonl"
SIDE = 96
ATTENTION = ("vit_", "swin_", "maxvit_")  # torchvision's classifiers that are no convolutional networks


@dataclass(frozen=True)
class Case:
    """One network.

    Attributes:
        source: its name in `--model`.
        make: builds its module, with random weights.
        channels: channels of its input.
        side: height and width of its input.
    """

    source: str
    make: Callable[[], nn.Module]
    channels: int = 3
    side: int = SIDE


def torchvision_cases() -> Iterator[Case]:
    """Every convolutional classifier of torchvision."""
    for name in torchvision.models.list_models(torchvision.models):
        if not name.startswith(ATTENTION):
            kwargs = dict(BARE) if name in INCEPTIONS else {}
            yield Case(f"torchvision://{name}", partial(torchvision.models.get_model, name, weights=None, **kwargs))


def timm_cases() -> Iterator[Case]:
    """The smallest network of each of timm's families.

    A family is the networks whose names begin with the same letters, as `regnety` or `mobilenetv`. Families whose networks have
    only one convolution with a kernel above 1 x 1, the one that cuts an image into tokens, are not listed. An older timm does not
    have all of them.
    """
    import timm

    yield from map(timm_case, filter(timm.is_model, FAMILIES.read_text().split()))


def timm_case(name: str) -> Case:
    """One of timm's networks."""
    import timm

    config = timm.get_pretrained_cfg(name).to_dict()
    channels, height, _ = config["input_size"]
    least = height if config.get("fixed_input_size") else (config.get("min_input_size") or [0])[-1]
    side = min(height, max(SIDE, least))
    return Case(f"timm://{name}", partial(timm.create_model, name, pretrained=False), channels, side)


def run(case: Case) -> Checked | str:
    """What was found, or the line with which the network is refused."""
    torch.manual_seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return check(case.make(), case.channels, case.side)
    except DeconvoyError as error:
        return str(error)


def _layers(count: int) -> str:
    return f"{count} layer{'s' if count != 1 else ''}"


def row(case: Case, found: "Checked | str") -> str:
    """One row of the table."""
    if isinstance(found, str):
        return f"| `{case.source}` | | | | none | refused: {found} |"
    gated = f"{found.gated}" if found.gated else ""
    layers = "all layers" if found.passed else _layers(found.projectable) if found.agrees else "WRONG"
    return f"| `{case.source}` | {found.layers} | {found.auto} | {gated} | {layers} | {found.obstacle} |"


def versions() -> str:
    """The versions that a result depends on."""
    return ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "timm"))


def page(rows: list[str], results: list[Checked | str]) -> str:
    """The page."""
    found = [result for result in results if isinstance(result, Checked)]
    whole = sum(result.passed for result in found)
    part = sum(result.agrees and not result.passed for result in found)
    refused = len(rows) - len(found)
    readable = f"Deconvoy refuses {refused} networks." if refused else "Deconvoy can read the graph of every network."
    return f"""# Networks

This page covers every convolutional classifier of torchvision, and one network from each timm family that uses convolutions.
`python -m tests.networks` writes this page. Versions tested: {versions()}.

Of {len(rows)} networks, {whole} have projections for all layers, and {part} for the layers below an operation without a
[downward step](glossary.md#networks), such as attention. Scan the layers above it with `--method none`, which publishes patches
without projections. {readable}

Each network was checked in float64, with random weights, on images of {SIDE} px or the size that it requires:

- Its output in Deconvoy equals that of the original module bit for bit, or up to rounding if the network has an operation
  without a downward step.
- Projections by all three methods equal automatic differentiation of whole images, with a relative error of at most
  {TOLERANCE:g}, in three layers, spread from the first to the last that has projections. In layers above
  a gate, projection and differentiation both hold the gate constant.
- Its receptive fields equal those found from the gradient. Above a resize by a non-integer factor, units count as
  seeing the whole image.

| network | layers | selected by `auto` | above a gate | with projections | lowest operation without a downward step |
|---|---|---|---|---|---|
{chr(10).join(rows)}
"""


def read(log: Path) -> dict[str, Checked | str]:
    """The results of these versions in a log, by source."""
    lines = map(json.loads, log.read_text().splitlines()) if log.exists() else ()
    return {
        line["source"]: line["found"] if isinstance(line["found"], str) else Checked(**line["found"])
        for line in lines
        if line["versions"] == versions()
    }


def write(log: Path, case: Case, found: Checked | str) -> None:
    """Add a result to a log."""
    plain = found if isinstance(found, str) else asdict(found)
    with log.open("a") as file:
        file.write(json.dumps({"source": case.source, "versions": versions(), "found": plain}) + "\n")


def main(log: Path) -> None:
    """Check all networks and write the page."""
    rows, results, finished = [], [], read(log)
    for case in (*torchvision_cases(), *timm_cases()):
        found = finished.get(case.source) or run(case)
        if case.source not in finished:
            write(log, case, found)
        rows.append(row(case, found))
        results.append(found)
        sys.stderr.write(f"{rows[-1]} {found.error if isinstance(found, Checked) else ''}\n")
    PAGE.write_text(page(rows, results))


if __name__ == "__main__":
    main(LOG)
