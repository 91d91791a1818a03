"""The command `sanity`. Takes words, runs the randomisation check of a scan's units, tells how it ended."""

from typing import Annotated, Any

import typer

from service.cli import drawing
from service.cli.options import Common, Layers, Output, over_a_corpus
from service.cli.running import absolute, carry_out
from workers.errors import UsageError

MOST_CHANNELS = 1_000_000  # of any layer: which it has is for the job to judge


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(sanity)


@over_a_corpus
def sanity(  # noqa: PLR0913 - one parameter per flag; one that is not given leaves it to the spec
    common: Common,
    *,
    from_run: Annotated[
        str | None, typer.Option(help="Scan whose units are checked; model and corpus are taken from it.")
    ] = None,
    layers: Layers = None,
    channels: Annotated[
        str | None, typer.Option(help="Channels of each layer, such as 7, 0-23 or 3,7,40-44; by default a sample.")
    ] = None,
    sample: Annotated[int | None, typer.Option()] = None,
    ranks: Annotated[int | None, typer.Option()] = None,
    stages: Annotated[int | None, typer.Option()] = None,
    modes: Annotated[list[str] | None, typer.Option()] = None,
    draws: Annotated[int | None, typer.Option()] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    output: Output = None,
) -> None:
    """Repeat a scan's projections with random weights: the randomisation check of Adebayo et al. (2018)."""
    drawing.check_output(output)
    from workers.spec.sanity import SanityRun

    if common.spec is None and from_run is None:
        raise UsageError("sanity needs --from-run: a scan under the same root whose units are checked")
    units = {"from_run": from_run, "layers": layers or None, "channels": _numbers(channels), "ranks": ranks}
    how = {"sample": sample, "stages": stages, "modes": modes or None, "draws": draws, "seed": seed}
    asked = common.asked(SanityRun, {"sanity": {**units, **how}}, _of_scan(absolute(common.root), from_run))
    carry_out(asked, output, as_json=common.as_json)


def _of_scan(root: str | None, run: str | None) -> dict[str, Any]:
    """Model, corpus and limits of the scan, so that they need not be said again.

    Raises:
        RunError: there is no such scan.
    """
    if root is None or run is None:
        return {}
    from service.query import catalog
    from workers.store.root import Root

    told = catalog.find(Root(root), run).spec
    return {part: told[part] for part in ("model", "corpus", "limits") if part in told}


def _numbers(text: str | None) -> tuple[int, ...] | None:
    return drawing.numbers(text, MOST_CHANNELS) if text else None
