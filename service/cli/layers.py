"""The command `layers`. Takes a model, prints its layers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.options import MODEL, SPEC, Json, ModelFlags, with_model_flags
from service.cli.running import absolute, absolute_model

GEOMETRY = {
    "field": "receptive field",
    "stride_y": "stride",
    "auto": "auto",
    "gated": "gated",
    "projection": "projection",
}

if TYPE_CHECKING:
    from workers.core.network import Layer
    from workers.spec.parts import ModelSpec


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(layers)


@with_model_flags
def layers(
    given: ModelFlags,
    model: Annotated[str | None, typer.Argument(help=MODEL)] = None,
    *,
    spec: Annotated[Path | None, typer.Option(help=SPEC)] = None,
    root: Annotated[
        str | None, typer.Option(help="Folder or fsspec URL that holds a network of `deconvoy.scan`.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the layers of a model. No weights are needed."""
    from service.cli.console import print_json, print_table
    from workers.models.model import outline

    wanted, where = _wanted(spec, {"source": absolute_model(model), **given.model_values()})
    rows = [_row(layer) for layer in outline(wanted, absolute(root) or where).layers]
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


def _wanted(path: Path | None, flags: dict[str, Any]) -> "tuple[ModelSpec, str | None]":
    """The network that a spec file and flags name, and the root in the file.

    Raises:
        SpecError: the file cannot be read, or a value is not valid.
    """
    from workers.spec.make import make, merged
    from workers.spec.parts import ModelSpec
    from workers.spec.toml import read_spec

    values = read_spec(path) if path else {}
    table = values.get("model", {})
    return make(ModelSpec, merged(table if isinstance(table, dict) else {}, flags)), values.get("root")


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
