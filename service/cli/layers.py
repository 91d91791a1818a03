"""The command `layers`. Takes a model, prints its layers."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import trusted
from service.cli.options import MODEL, TRUST, Json
from service.cli.running import absolute_model
from workers.spec import families

GEOMETRY = {
    "field": "receptive field",
    "stride_y": "stride",
    "auto": "auto",
    "gated": "gated",
    "projection": "projection",
}

if TYPE_CHECKING:
    from workers.core.network import Layer, Network


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(layers)


def layers(
    model: Annotated[str, typer.Argument(help=MODEL)],
    crop: Annotated[int | None, typer.Option(min=1, help="Side of the input, pixels; only code needs it.")] = None,
    trust_code: Annotated[bool, typer.Option("--trust-code", help=TRUST)] = False,
    as_json: Json = False,
) -> None:
    """List the layers of a model."""
    from service.cli.console import print_json, print_table

    rows = [_row(layer) for layer in _outline(absolute_model(model) or "", crop, trust=trust_code).layers]
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


def _outline(source: str, crop: int | None, *, trust: bool) -> "Network":
    if families.is_code(source):
        return trusted.outline(source, crop, trust=trust)
    from workers.models.model import outline
    from workers.spec.make import make
    from workers.spec.parts import ModelSpec

    return outline(make(ModelSpec, {"source": source, "crop": crop}))


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
    }
