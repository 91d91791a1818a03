"""The command `layers`. Takes a model, prints its layers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import trusted
from service.cli.options import MODEL, SPEC, TRUST, Json, ModelFlags, with_model_flags
from service.cli.running import absolute, absolute_model, spec_values
from service.cli.terminal import echo
from service.query.marks import BRANCHES, marks
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


@with_model_flags
def layers(
    given: ModelFlags,
    model: Annotated[str | None, typer.Argument(help=MODEL)] = None,
    *,
    spec: Annotated[Path | None, typer.Option(help=SPEC)] = None,
    root: Annotated[
        str | None, typer.Option(help="Folder or fsspec URL that holds the network stored://NAME@FINGERPRINT.")
    ] = None,
    trust_code: Annotated[bool, typer.Option("--trust-code", help=TRUST)] = False,
    as_json: Json = False,
) -> None:
    """List the layers of a model. No weights are needed."""
    from service.cli.console import print_json, print_table

    values = spec_values(spec, {"model": {"source": absolute_model(model), **given.model_values()}})
    network = _outline(values["model"], absolute(root) or values.get("root"), trust=trust_code)
    rows = [_row(layer) for layer in network.layers]
    if as_json:
        print_json(rows)
        return
    cells = [
        {
            **row,
            "map": f"{row['height']} x {row['width']}",
            "field": _range(row),
            "projection": "" if row["projections"] else "none",
        }
        for row in rows
    ]
    headings = {"index": "index", "layer": "layer", "kind": "kind", "channels": "channels", "map": "map size"}
    print_table(cells, headings | GEOMETRY)
    for line in _explanations(rows):
        echo(line)


def _range(row: Mapping[str, Any]) -> str:
    """The size of the receptive field, or of the smallest and the largest one of the channels."""
    largest, least = (f"{row[f'{of}field_height']} x {row[f'{of}field_width']}" for of in ("", "least_"))
    return largest if least == largest else f"{least} to {largest}"


def _explanations(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the layers' marks and ranges of fields mean, each once: layers that share an obstacle share a line."""
    lines = [line for row in rows for line in marks(row["gated"], row["obstacle"]).values()]
    differ = any(" to " in _range(row) for row in rows)
    return [*dict.fromkeys(lines), *([BRANCHES] if differ else [])]


def _outline(values: dict[str, Any], root: str | None, *, trust: bool) -> "Network":
    if families.is_code(str(values.get("source"))):
        return trusted.outline(values, trust=trust)
    from workers.models.model import outline
    from workers.spec.make import make
    from workers.spec.parts import ModelSpec

    return outline(make(ModelSpec, values), root)


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
        "least_field_height": min(field.height for field in layer.fields.fields),
        "least_field_width": min(field.width for field in layer.fields.fields),
        "stride_y": layer.field.stride_y,
        "stride_x": layer.field.stride_x,
        "auto": layer.auto,
        "gated": layer.gated,
        "projections": not layer.obstacle,
        "obstacle": layer.obstacle or None,
    }
