"""The command `concepts`. Takes flags, embeds a scan's channels with an image-text model, prints the outcome."""

from typing import Annotated

import typer

from service.cli import drawing
from service.cli.options import Layers, Output, RunFlags, with_run_flags
from service.cli.running import absolute_model, parse_number, run_spec, spec_values


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(concepts)


@with_run_flags
def concepts(  # noqa: PLR0913 - one parameter per flag; the spec fills in the flags that are not given
    given: RunFlags,
    *,
    from_run: Annotated[str | None, typer.Option()] = None,
    encoder: Annotated[str | None, typer.Option()] = None,
    layers: Layers = None,
    patches: Annotated[int | None, typer.Option()] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    batch: Annotated[str | None, typer.Option()] = None,
    output: Output = None,
) -> None:
    """Embed a scan's channels with an image-text model such as CLIP, to search them by any text (needs the `clip` extra)."""
    drawing.check_output(output)
    from workers.spec.concepts import ConceptsRun
    from workers.spec.make import make, merged

    which = {"from_run": from_run, "encoder": absolute_model(encoder), "layers": layers or None, "patches": patches}
    flags = {"concepts": {**which, "seed": seed, "batch": parse_number(batch)}}
    spec = make(ConceptsRun, spec_values(given.spec, merged(given.values(), flags)))
    run_spec(spec, output, given)
