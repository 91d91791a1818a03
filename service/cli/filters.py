"""The command `filters`. Takes flags, runs the job, prints its outcome."""

from typing import Annotated

import typer

from service.cli import drawing
from service.cli.options import MODEL, Json, Output
from service.cli.running import absolute, absolute_model, build_spec, run_spec


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(filters)


def filters(
    *,
    model: Annotated[list[str], typer.Option(help=MODEL + " Repeatable.")],
    root: Annotated[str, typer.Option()],
    run: Annotated[str | None, typer.Option()] = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Diagnose and compare the first-layer filters of networks (Zeiler & Fergus, Figure 6)."""
    drawing.check_output(output)
    from workers.spec.filters import FiltersRun

    flags = {"run": run, "root": absolute(root), "models": [{"source": absolute_model(source)} for source in model]}
    run_spec(build_spec(FiltersRun, None, flags), output, as_json=as_json)
