"""The command `invariance`. Takes flags, runs the job, reports how it ended."""

from typing import Annotated

import typer

from service.cli import drawing
from service.cli.options import Classes, Common, Images, Label, Output, Sample, Target, over_a_corpus
from service.cli.running import absolute, carry_out


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(invariance)


Amounts = str | None


@over_a_corpus
def invariance(  # noqa: PLR0913 - one parameter per flag; one that is not given leaves it to the spec
    common: Common,
    *,
    layers: Annotated[list[str] | None, typer.Option()] = None,
    images: Images = None,
    sample: Sample = None,
    transforms: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated transforms among translate_y, translate_x, scale, rotate; by default all but translate_x."
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
    classes: Classes = None,
    label: Label = None,
    output: Output = None,
) -> None:
    """Shift, scale and rotate images and measure how far their features move (Zeiler & Fergus, Figure 5)."""
    drawing.check_output(output)
    from workers.spec.invariance import InvarianceRun

    what = {"layers": layers or None, "images": images or None, "sample": sample, "border": border, "target": target}
    amounts = {"translations": translations, "scales": scales, "rotations": rotations, "transforms": transforms}
    flags = {
        "model": {"classes": absolute(classes)},
        "corpus": {"label": label},
        "invariance": what | {name: text.split(",") if text else None for name, text in amounts.items()},
    }
    asked = common.asked(InvarianceRun, flags)
    carry_out(asked, output, as_json=common.as_json)
