"""The command `filters`. Takes flags, runs the job, prints its outcome."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli import drawing
from service.cli.options import MODEL, Json, ModelFlags, Output, with_model_flags
from service.cli.running import absolute, absolute_model, run_job, spec_values
from workers.errors import UsageError


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(filters)


@with_model_flags
def filters(  # noqa: PLR0913 - one parameter per flag
    given: ModelFlags,
    *,
    model: Annotated[list[str] | None, typer.Option(help=MODEL + " Repeatable.")] = None,
    root: Annotated[str | None, typer.Option()] = None,
    run: Annotated[str | None, typer.Option()] = None,
    spec: Annotated[
        Path | None, typer.Option(help="Spec file (TOML); --model, --root and --run override its keys.")
    ] = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Diagnose and compare the first-layer filters of networks (Zeiler & Fergus, Figure 6)."""
    drawing.check_output(output)
    from workers.spec.filters import FiltersRun
    from workers.spec.make import make

    values = {name: value for name, value in given.model_values().items() if value is not None}
    if values and not model:
        raise UsageError(
            f"--{next(iter(values)).replace('_', '-')} needs --model: flags do not change the models of a spec file"
        )
    models = [{"source": absolute_model(source), **values} for source in model or ()]
    flags = {"run": run, "root": absolute(root), "models": models or None}
    run_job(make(FiltersRun, spec_values(spec, flags)), output, as_json=as_json)
