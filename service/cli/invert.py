"""The command `invert`. Takes flags, runs the job, reports how it ended."""

from typing import Annotated

import typer

from service.cli import drawing
from service.cli.options import Common, Images, Layers, Output, Sample, over_a_corpus
from service.cli.running import carry_out, number


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(invert)


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
    from workers.spec.invert import InversionRun

    what = {"layers": layers or None, "images": images or None, "sample": sample, "channels": channels or None}
    how = {"restarts": restarts, "iterations": iterations, "batch": number(batch), "seed": seed, "rate": rate}
    losses = {"tv_weight": tv_weight, "alpha_weight": alpha_weight, "jitter": jitter, "bounded": bounded}
    flags = {"invert": {**what, **how, **losses, "region": region.split(",") if region else None}}
    asked = common.asked(InversionRun, flags)
    carry_out(asked, output, as_json=common.as_json)
