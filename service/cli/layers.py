"""The command `layers`. Takes a model, prints its layers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.options import MODEL, Json
from service.cli.running import absolute_model
from service.cli.terminal import echo
from service.query.marks import marks

GEOMETRY = {
    "field": "receptive field",
    "stride_y": "stride",
    "auto": "auto",
    "gated": "gated",
    "projection": "projection",
}

if TYPE_CHECKING:
    from workers.core.network import Layer


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(layers)


def layers(model: Annotated[str, typer.Argument(help=MODEL)], as_json: Json = False) -> None:
    """List the layers of a model."""
    from service.cli.console import print_json, print_table
    from workers.models.model import outline
    from workers.spec.make import make
    from workers.spec.parts import ModelSpec

    rows = [_row(layer) for layer in outline(make(ModelSpec, {"source": absolute_model(model)})).layers]
    if as_json:
        print_json(rows)
        return
    cells = [
        {
            **row,
            "map": f"{row['height']} x {row['width']}",
            "field": f"{row['field_height']} x {row['field_width']}",
            "projection": "" if row["projections"] else "none",
        }
        for row in rows
    ]
    headings = {"index": "index", "layer": "layer", "kind": "kind", "channels": "channels", "map": "map size"}
    print_table(cells, headings | GEOMETRY)
    for line in _explanations(rows):
        echo(line)


def _explanations(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the marks of the layers mean, each once: layers that share an obstacle share a line."""
    return list(dict.fromkeys(line for row in rows for line in marks(row["gated"], row["obstacle"]).values()))


def _row(layer: "Layer") -> dict[str, Any]:
    return {
        "index": layer.index,
        "layer": layer.name,
        "kind": layer.kind,
        "channels": layer.channels,
        "height": layer.height,
        "width": layer.width,
        "field_height": layer.field.height,
        "field_width": layer.field.width,
        "stride_y": layer.field.stride_y,
        "stride_x": layer.field.stride_x,
        "auto": layer.auto,
        "gated": layer.gated,
        "projections": not layer.obstacle,
        "obstacle": layer.obstacle or None,
    }
