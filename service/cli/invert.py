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
    restarts: Annotated[int | None, typer.Option()] = None,
    iterations: Annotated[int | None, typer.Option()] = None,
    batch: Annotated[str | None, typer.Option()] = None,
    rate: Annotated[float | None, typer.Option()] = None,
    tv_weight: Annotated[float | None, typer.Option()] = None,
    alpha_weight: Annotated[float | None, typer.Option()] = None,
    jitter: Annotated[int | None, typer.Option()] = None,
    bounded: Annotated[bool | None, typer.Option()] = None,
    channels: Annotated[list[int] | None, typer.Option()] = None,
    region: Annotated[
        str | None, typer.Option(help="Part of the feature map to match, as TOP,LEFT,BOTTOM,RIGHT (half-open).")
    ] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    output: Output = None,
) -> None:
    """Reconstruct images from a layer's features (Mahendran & Vedaldi, CVPR 2015)."""
    drawing.check_output(output)
    from workers.spec.invert import InversionRun

    what = {"layers": layers or None, "images": images or None, "sample": sample, "channels": channels or None}
    how = {"restarts": restarts, "iterations": iterations, "batch": number(batch), "seed": seed, "rate": rate}
    losses = {"tv_weight": tv_weight, "alpha_weight": alpha_weight, "jitter": jitter, "bounded": bounded}
    flags = {"invert": {**what, **how, **losses, "region": region.split(",") if region else None}}
    asked = common.asked(InversionRun, flags)
    carry_out(asked, output, as_json=common.as_json)
