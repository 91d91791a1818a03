"""The command `invert`. Takes flags, runs the job, prints its outcome."""

from typing import Annotated

import typer

from service.cli import drawing
from service.cli.options import Common, Images, Layers, Output, Sample, with_common_flags
from service.cli.running import parse_number, run_spec


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(invert)


@with_common_flags
def invert(  # noqa: PLR0913 - one parameter per flag; the spec fills in the flags that are not given
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

    inputs = {"layers": layers or None, "images": images or None, "sample": sample, "channels": channels or None}
    descent = {"restarts": restarts, "iterations": iterations, "batch": parse_number(batch), "seed": seed, "rate": rate}
    losses = {"tv_weight": tv_weight, "alpha_weight": alpha_weight, "jitter": jitter, "bounded": bounded}
    flags = {"invert": {**inputs, **descent, **losses, "region": region.split(",") if region else None}}
    spec = common.build_spec(InversionRun, flags)
    run_spec(spec, output, common)
