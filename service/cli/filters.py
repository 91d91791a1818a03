"""The command `filters`. Takes flags, runs the job, reports how it ended."""

from typing import Annotated

import typer

from service.cli import drawing
from service.cli.options import MODEL, Json, Output
from service.cli.running import absolute, absolute_model, carry_out, spec_of


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(filters)


def filters(
    *,
    model: Annotated[list[str], typer.Option(help=MODEL + " May be repeated.")],
    root: Annotated[str, typer.Option(help="Folder or URL for the datasets.")],
    run: Annotated[str | None, typer.Option(help="Run id; made from the time without it.")] = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Look at the first kernels of networks, side by side: Figure 6 of Zeiler & Fergus."""
    drawing.check_output(output)
    from workers.spec.filters import FiltersRun

    flags = {"run": run, "root": absolute(root), "models": [{"source": absolute_model(each)} for each in model]}
    carry_out(spec_of(FiltersRun, None, flags), output, as_json=as_json)
