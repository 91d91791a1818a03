"""The command `query concept`. Takes a text or a channel, lists the channels nearest to it in meaning."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.options import Json, RootOption, RunOption
from service.cli.querying import find_run, show
from service.cli.terminal import echo
from workers.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from service.query.catalog import PublishedRun
    from service.query.concepts import Concepts, Near

WAIT_S = 300.0  # for the image-text model to be loaded
SHOWN = 12


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(concept)


def concept(  # noqa: PLR0913, PLR0917 - one parameter per flag
    root: RootOption,
    text: Annotated[str | None, typer.Argument(help="Any text, such as 'striped animals'.")] = None,
    layer: Annotated[
        str | None,
        typer.Option("--layer", help="Only channels of this layer; with --channel, the layer of that channel."),
    ] = None,
    channel: Annotated[
        int | None, typer.Option(help="Instead of a text, a channel of --layer: list the channels nearest to it.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Maximum number of rows.")] = SHOWN,
    run: RunOption = None,
    as_json: Json = False,
) -> None:
    """List the channels whose best patches are nearest to a text or to a channel, as an image-text model sees them.

    `deconvoy concepts` has to embed the channels of the scan first. Similarity is a cosine. Agreement says how alike a channel's
    patches are: it is 1 if all are the same.
    """
    from service.query import catalog, concepts

    if (text is None) == (channel is None) or (channel is not None and layer is None):
        raise UsageError("give either a text, or --layer and --channel")
    scan = find_run(root, run)
    embedded = concepts.require_embedded(catalog.runs(scan.root), scan, layer)
    every = concepts.read_concepts(embedded)
    if text is not None:
        nearest = _near_text(embedded, every, text, layer, limit)
    else:
        nearest = _near_channel(embedded, every, str(layer), int(channel or 0), limit)
    if not as_json:
        echo(f"as {concepts.encoder_of(embedded)} sees it, in run {embedded.run}", err=True)
    names = ("layer", "channel", "similarity", "agreement")
    show(
        [{name: asdict(near)[name] for name in names} for near in nearest],
        dict(zip(names, names, strict=True)),
        as_json=as_json,
    )


def _near_text(
    embedded: "PublishedRun", every: "Concepts", text: str, layer: str | None, limit: int
) -> "tuple[Near, ...]":
    """The channels nearest to a text."""
    from jobs.texts import Texts

    assert embedded.encoder is not None  # noqa: S101 - every run of this kind has one
    texts = Texts(embedded.root.url)
    try:
        direction = texts.direction(embedded.encoder, text, WAIT_S)
    finally:
        texts.close()
    if direction is None:
        raise Unavailable(f"the image-text model did not answer within {WAIT_S:.0f} s; try again")
    return every.nearest(direction, limit, layer)


def _near_channel(
    embedded: "PublishedRun", every: "Concepts", layer: str, channel: int, limit: int
) -> "tuple[Near, ...]":
    """The channels of all layers nearest to one.

    Raises:
        QueryError: there is no such channel, or it is dead.
    """
    from workers.errors import QueryError

    embedded.layer(layer).require_channel(channel)
    position = every.position(layer, channel)
    if position is None:
        raise QueryError(f"channel {channel} of layer {layer!r} is dead, so nothing is near it")
    return every.nearest(every.directions[position], limit, without=int(every.number[position]))
