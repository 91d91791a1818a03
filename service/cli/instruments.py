"""The commands of the instruments: `occlude`, `invert`, `filters`. Takes words, runs jobs, tells how they ended."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import drawing, query
from service.cli.options import (
    Classes,
    Common,
    Fill,
    Images,
    Json,
    Label,
    Layers,
    Output,
    Sample,
    Target,
    over_a_corpus,
)
from service.cli.running import absolute, absolute_model, finish, number, spec_of, tell, watched

if TYPE_CHECKING:
    from jobs.run.outcome import Outcome
    from jobs.watch import Watcher


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(occlude)
    app.command()(invert)
    app.command()(filters)


@over_a_corpus
def occlude(  # noqa: PLR0913 - one parameter per flag; one that is not given leaves it to the spec
    common: Common,
    *,
    layer: Annotated[str | None, typer.Option(help="Layer whose strongest feature map is followed.")] = None,
    images: Images = None,
    sample: Sample = None,
    size: Annotated[int | None, typer.Option(help="Side of the square, model-input pixels.")] = None,
    stride: Annotated[int | None, typer.Option(help="Between neighbouring positions, pixels.")] = None,
    fill: Fill = None,
    target: Target = None,
    from_run: Annotated[str | None, typer.Option(help="Scan whose projections of the channel stand beside.")] = None,
    classes: Classes = None,
    label: Label = None,
    output: Output = None,
) -> None:
    """Slide a grey square over images and see what it takes away: Figure 7 of Zeiler & Fergus."""
    drawing.check_output(output)
    from jobs.occlude import occlude as run_occlude
    from workers.spec.instruments import OcclusionRun

    square = {"size": size, "stride": stride, "fill": fill, "target": target, "from_run": from_run}
    flags = {
        "model": {"classes": absolute(classes)},
        "corpus": {"label": label},
        "occlude": {"layer": layer, "images": images or None, "sample": sample, **square},
    }
    asked = common.asked(OcclusionRun, flags)
    carry_out(lambda watch: run_occlude(asked, watch), output, as_json=common.as_json)


@over_a_corpus
def invert(  # noqa: PLR0913 - one parameter per flag; one that is not given leaves it to the spec
    common: Common,
    *,
    layers: Layers = None,
    images: Images = None,
    sample: Sample = None,
    restarts: Annotated[int | None, typer.Option(help="Inversions of each image and layer.")] = None,
    iterations: Annotated[int | None, typer.Option(help="Below 400 the schedule is cut off, not shrunk.")] = None,
    batch: Annotated[str | None, typer.Option(help="Most inversions in one batch, or auto.")] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate at the start; by depth without it.")] = None,
    tv_weight: Annotated[float | None, typer.Option(help="Of the total variation; by depth without it.")] = None,
    alpha_weight: Annotated[float | None, typer.Option(help="Of the norm that keeps pixels in range.")] = None,
    jitter: Annotated[int | None, typer.Option(help="Largest random shift in an iteration, pixels.")] = None,
    bounded: Annotated[bool | None, typer.Option(help="Keep pixels in 0 to 255.")] = None,
    channels: Annotated[list[int] | None, typer.Option(help="Channel that is compared; may be repeated.")] = None,
    region: Annotated[str | None, typer.Option(help="top,left,bottom,right of the feature map.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the beginnings.")] = None,
    output: Output = None,
) -> None:
    """Invert layers: find images that a layer cannot tell from the given ones, as Mahendran & Vedaldi do."""
    drawing.check_output(output)
    from jobs.invert import invert as run_invert
    from workers.spec.instruments import InversionRun

    what = {"layers": layers or None, "images": images or None, "sample": sample, "channels": channels or None}
    how = {"restarts": restarts, "iterations": iterations, "batch": number(batch), "seed": seed, "rate": rate}
    losses = {"tv_weight": tv_weight, "alpha_weight": alpha_weight, "jitter": jitter, "bounded": bounded}
    flags = {"invert": {**what, **how, **losses, "region": region.split(",") if region else None}}
    asked = common.asked(InversionRun, flags)
    carry_out(lambda watch: run_invert(asked, watch), output, as_json=common.as_json)


def filters(
    *,
    model: Annotated[list[str], typer.Option(help=query.MODEL + " May be repeated.")],
    root: Annotated[str, typer.Option(help="Folder or URL for the datasets.")],
    run: Annotated[str | None, typer.Option(help="Run id; made from the time without it.")] = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Look at the first kernels of networks, side by side: Figure 6 of Zeiler & Fergus."""
    drawing.check_output(output)
    from dataclasses import asdict

    from jobs.filters import filters as run_filters
    from service.cli.console import print_json
    from workers.spec.instruments import FiltersRun

    flags = {"run": run, "root": absolute(root), "models": [{"source": absolute_model(each)} for each in model]}
    outcome = run_filters(spec_of(FiltersRun, None, flags))
    draw(outcome.root, outcome.run, output)
    if as_json:
        print_json(asdict(outcome))
    else:
        tell(outcome)


def carry_out(
    work: "Callable[[Watcher], Outcome]",
    output: Path | None,
    *,
    as_json: bool,
) -> None:
    """Run an instrument under progress bars, draw it if a picture is asked for, tell how it ended, and exit with its code."""
    outcome = watched(work)
    draw(outcome.root, outcome.run, output)
    finish(outcome, as_json=as_json)


def draw(root: str, run: str, output: Path | None) -> None:
    """Draw a run to a file, if one is asked for."""
    from service.query import catalog
    from workers.store.root import Root

    if output is not None:
        drawing.draw_instrument(catalog.find(Root(root), run, None), output)
