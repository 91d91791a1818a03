"""The command `occlude`. Takes flags, runs the job, prints its outcome."""

from typing import Annotated

import typer

from service.cli import drawing
from service.cli.options import Common, Fill, Images, Label, Output, Sample, Target, with_common_flags
from service.cli.running import run_spec


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(occlude)


@with_common_flags
def occlude(  # noqa: PLR0913 - one parameter per flag; the spec fills in the flags that are not given
    common: Common,
    *,
    layer: Annotated[str | None, typer.Option()] = None,
    images: Images = None,
    sample: Sample = None,
    size: Annotated[int | None, typer.Option()] = None,
    stride: Annotated[int | None, typer.Option()] = None,
    fill: Fill = None,
    target: Target = None,
    from_run: Annotated[str | None, typer.Option()] = None,
    label: Label = None,
    output: Output = None,
) -> None:
    """Slide a grey square over images and measure its effect (Zeiler & Fergus, Figure 7)."""
    drawing.check_output(output)
    from workers.spec.occlude import OcclusionRun

    square = {"size": size, "stride": stride, "fill": fill, "target": target, "from_run": from_run}
    flags = {
        "corpus": {"label": label},
        "occlude": {"layer": layer, "images": images or None, "sample": sample, **square},
    }
    spec = common.build_spec(OcclusionRun, flags)
    run_spec(spec, output, common)
