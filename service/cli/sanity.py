"""The command `sanity`. Takes flags, runs the randomisation check of a scan's units, prints its outcome."""

from typing import Annotated, Any

import typer

from service.cli import drawing
from service.cli.options import Common, Layers, Output, with_common_flags
from service.cli.running import absolute, run_spec
from workers.errors import UsageError


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(sanity)


@with_common_flags
def sanity(  # noqa: PLR0913 - one parameter per flag; the spec fills in the flags that are not given
    common: Common,
    *,
    from_run: Annotated[
        str | None,
        typer.Option(
            help="Scan whose units are checked. Model and corpus are those of the scan; if they are given, they must match."
        ),
    ] = None,
    layers: Layers = None,
    channels: Annotated[
        str | None, typer.Option(help="Channels of each layer, such as 7, 0-23 or 3,7,40-44; by default a sample.")
    ] = None,
    sample: Annotated[int | None, typer.Option()] = None,
    ranks: Annotated[int | None, typer.Option()] = None,
    stages: Annotated[int | None, typer.Option()] = None,
    modes: Annotated[list[str] | None, typer.Option()] = None,
    draws: Annotated[int | None, typer.Option()] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    output: Output = None,
) -> None:
    """Repeat a scan's projections with random weights: the randomisation check of Adebayo et al. (2018)."""
    drawing.check_output(output)
    from workers.spec.sanity import SanityRun

    if common.spec is None and from_run is None:
        raise UsageError("sanity needs --from-run: a scan under the same root whose units are checked")
    units = {"from_run": from_run, "layers": layers or None, "channels": _parse(channels), "ranks": ranks}
    randomisation = {"sample": sample, "stages": stages, "modes": modes or None, "draws": draws, "seed": seed}
    spec = common.build_spec(
        SanityRun, {"sanity": {**units, **randomisation}}, _spec_of_scan(absolute(common.root), from_run)
    )
    run_spec(spec, output, common)


def _spec_of_scan(root: str | None, run: str | None) -> dict[str, Any]:
    """The model, corpus, limits and decoding of a scan, so that they need not be given again.

    Raises:
        RunError: the scan does not exist.
    """
    if root is None or run is None:
        return {}
    from service.query import catalog
    from workers.store.root import Root

    scan = catalog.find(Root(root), run)
    values = scan.spec.values
    parts: dict[str, Any] = {part: values[part] for part in ("model", "corpus", "limits", "decode") if part in values}
    if scan.depth:  # a sample of a corpus that has grown since might show another one
        parts["decode"] = {**parts.get("decode", {}), "depth": scan.depth}
    return parts


def _parse(text: str | None) -> tuple[int, ...] | None:
    return drawing.parse_channels(text) if text else None
