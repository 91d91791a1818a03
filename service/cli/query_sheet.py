"""The command `query sheet`. Takes a published run, draws it as one picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import drawing
from service.cli.options import Json, RootOption, SheetRunOption
from service.cli.querying import find_run
from service.cli.terminal import echo
from workers.errors import QueryError
from workers.kinds import Kind
from workers.store.root import Root

if TYPE_CHECKING:
    from service.query.catalog import PublishedRun


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(sheet)


def sheet(  # noqa: PLR0913, PLR0917 - one parameter per flag
    root: RootOption,
    layer: Annotated[str | None, typer.Option("--layer", help="Layer name; required for a scan.")] = None,
    channels: Annotated[
        str | None,
        typer.Option(
            help=f"Channels, such as 7, 0-23 or 3,7,40-44, in this order; by default the first {drawing.SHEET_CHANNELS} living "
            f"ones, or the {drawing.STRIP_CHANNELS} that changed most for evolve."
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            help="Instead of the first living channels of a scan's layer, draw the first ones in this order: selectivity, "
            "purity or another one that `query units --sort` knows.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="PNG file to write.")] = Path("sheet.png"),
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Show grey outside the model's input. By default, a scan's patches continue there with dimmed pixels of the "
            "photo, and frames of evolve are zoomed to their visible part.",
        ),
    ] = False,
    run: SheetRunOption = None,
    as_json: Json = False,
) -> None:
    """Draw a run as one picture: Figure 2 of Zeiler & Fergus for a scan, Figure 4 for evolution, and so on."""
    from service.cli.console import print_json

    published = find_run(root, run, None if run else Kind.SCAN if layer else _only_kind(root))
    drawing.check_output(output)
    _require_options(published, layer, channels, sort)
    numbers = drawing.parse_channels(channels, published.layer(layer).channels) if layer and channels else ()
    if layer and not numbers and published.job == Kind.SCAN:
        numbers = _channels(published, layer, sort)
    drawn = _draw(published, layer, numbers, output, exact=exact)
    if as_json:
        print_json({"run": published.run, "layer": layer, "channels": drawn, "sheet": str(output)})
    else:
        echo(str(output))


def _only_kind(root: str) -> Kind:
    """The kind of all published runs.

    Raises:
        QueryError: there are several.
    """
    from service.query import catalog

    newest: dict[Kind, str] = {}
    for run in catalog.require_runs(Root(root)):
        newest.setdefault(run.job, run.run)
    if len(newest) > 1:
        choices = ", ".join(f"{run} ({kind})" for kind, run in newest.items())
        raise QueryError(f"root {root!r} has runs of several kinds: give --run, such as {choices}")
    return next(iter(newest))


def _require_options(run: "PublishedRun", layer: str | None, channels: str | None, sort: str | None) -> None:
    """Check that the options fit the run.

    Raises:
        QueryError: they do not.
    """
    if run.job not in ("scan", "evolve") and layer is not None:
        raise QueryError(f"run {run.run!r} is of kind {run.job}, which is drawn as a whole: omit --layer")
    if run.job == "scan" and layer is None:
        raise QueryError(f"run {run.run!r} is a scan: give --layer, such as {run.layers[-1].name}")
    if channels and layer is None:
        raise QueryError("--channels needs --layer")
    if sort and (channels or run.job != "scan"):
        raise QueryError("--sort chooses the channels of a scan's layer; omit it" + " with --channels" * bool(channels))


def _channels(run: "PublishedRun", layer: str, sort: str | None) -> tuple[int, ...]:
    """The channels that are drawn by default. A line on standard error says which, if they are not all."""
    from service.query import scans
    from service.query.layers import Choice, read_layer

    if sort is None:
        numbers = scans.living(run, layer, drawing.SHEET_CHANNELS)
    else:
        chosen = read_layer(run, layer).chosen(Choice(sort, dead=False))
        numbers = tuple(channel.channel for channel in chosen[: drawing.SHEET_CHANNELS])
    if not numbers:
        raise QueryError(f"all channels of layer {layer!r} are dead; choose some with --channels")
    if len(numbers) < (every := run.layer(layer).channels):
        order = (
            f"sorted by {sort}" if sort else "sorted by number; --sort selectivity begins with the most telling ones"
        )
        echo(f"the first {len(numbers)} of {every:,} channels, {order}", err=True)
    return numbers


def _draw(
    run: "PublishedRun", layer: str | None, numbers: tuple[int, ...], output: Path, *, exact: bool
) -> tuple[int, ...]:
    """Draw a run or a layer of it, and give the channels that were drawn, if they were chosen."""
    if run.job == "evolve":
        return drawing.draw_strips(run, layer, numbers, output, exact=exact)
    if layer is None:
        drawing.draw_instrument(run, output)
        return ()
    drawing.draw_layer(run, layer, numbers, output, exact=exact)
    return numbers
