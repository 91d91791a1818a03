"""The command `synthesise`. Takes flags, runs the job, prints its outcome."""

from typing import Annotated

import typer

from service.cli import drawing
from service.cli.options import Layers, NetworkFlags, Output, with_network_flags
from service.cli.running import parse_number, run_spec


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(synthesise)


@with_network_flags
def synthesise(  # noqa: PLR0913 - one parameter per flag; the spec fills in the flags that are not given
    given: NetworkFlags,
    *,
    layers: Layers = None,
    channels: Annotated[
        str | None, typer.Option(help="Channel numbers, such as 7, 0-23 or 3,7,40-44; by default all.")
    ] = None,
    steps: Annotated[int | None, typer.Option()] = None,
    rate: Annotated[float | None, typer.Option()] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    batch: Annotated[str | None, typer.Option()] = None,
    output: Output = None,
) -> None:
    """For each channel, optimise an image that activates it strongly (Olah et al., Distill 2017)."""
    drawing.check_output(output)
    from workers.spec.synthesise import SynthesisRun

    numbers = drawing.parse_channels(channels) if channels is not None else None
    ascent = {"steps": steps, "rate": rate, "seed": seed, "batch": parse_number(batch)}
    spec = given.build_spec(SynthesisRun, {"synthesise": {"layers": layers or None, "channels": numbers, **ascent}})
    run_spec(spec, output, given)
