"""The command `invariance`. Takes flags, runs the job, prints its outcome."""

from typing import Annotated

import typer

from service.cli import drawing
from service.cli.options import Common, Images, Label, Output, Sample, Target, with_common_flags
from service.cli.running import run_spec


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(invariance)


Amounts = str | None


@with_common_flags
def invariance(  # noqa: PLR0913 - one parameter per flag; the spec fills in the flags that are not given
    common: Common,
    *,
    layers: Annotated[list[str] | None, typer.Option()] = None,
    images: Images = None,
    sample: Sample = None,
    transforms: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated list of translate_y, translate_x, scale, rotate; by default all but translate_x."
        ),
    ] = None,
    translations: Annotated[
        Amounts, typer.Option(help="Comma-separated shifts, such as -20,-10,10,20, in model-input pixels.")
    ] = None,
    scales: Annotated[Amounts, typer.Option(help="Comma-separated scale factors, such as 0.5,1.5.")] = None,
    rotations: Annotated[
        Amounts, typer.Option(help="Comma-separated rotations, such as 90,180, in degrees counter-clockwise.")
    ] = None,
    border: Annotated[str | None, typer.Option()] = None,
    target: Target = None,
    label: Label = None,
    output: Output = None,
) -> None:
    """Shift, scale and rotate images and measure how far their features move (Zeiler & Fergus, Figure 5)."""
    drawing.check_output(output)
    from workers.spec.invariance import InvarianceRun

    inputs = {"layers": layers or None, "images": images or None, "sample": sample, "border": border, "target": target}
    amounts = {"translations": translations, "scales": scales, "rotations": rotations, "transforms": transforms}
    flags = {
        "corpus": {"label": label},
        "invariance": inputs | {name: text.split(",") if text else None for name, text in amounts.items()},
    }
    spec = common.build_spec(InvarianceRun, flags)
    run_spec(spec, output, common)
