"""The command `scan`. Takes flags, scans a corpus."""

from typing import Annotated

import typer

from service.cli.options import Common, Label, Layers, Method, with_common_flags
from service.cli.running import parse_number, run_spec


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(scan)


@with_common_flags
def scan(  # noqa: PLR0913 - one parameter per flag; the spec fills in the flags that are not given
    common: Common,
    *,
    layers: Layers = None,
    k: Annotated[int | None, typer.Option()] = None,
    batch: Annotated[int | None, typer.Option()] = None,
    shard: Annotated[str | None, typer.Option()] = None,
    distinct: Annotated[str | None, typer.Option()] = None,
    engine: Annotated[str | None, typer.Option()] = None,
    border: Annotated[str | None, typer.Option()] = None,
    predictions: Annotated[bool | None, typer.Option()] = None,
    group: Annotated[str | None, typer.Option()] = None,
    limit: Annotated[int | None, typer.Option()] = None,
    sample: Annotated[int | None, typer.Option()] = None,
    label: Label = None,
    method: Method = None,
    image_format: Annotated[str | None, typer.Option()] = None,
    previews: Annotated[bool | None, typer.Option()] = None,
    precision: Annotated[str | None, typer.Option()] = None,
    max_reject_share: Annotated[float | None, typer.Option()] = None,
) -> None:
    """Find each channel's strongest images in a corpus and project the activations down to pixels."""
    from workers.spec.scan import RunSpec

    keys = {
        "layers": layers or None,
        "k": k,
        "batch": batch,
        "shard": parse_number(shard),
        "distinct": distinct,
        "engine": engine,
        "border": border,
        "predictions": predictions,
    }
    flags = {
        "corpus": {"label": label, "group": group, "limit": limit, "sample": sample},
        "scan": {**keys, "max_reject_share": max_reject_share},
        "project": {"method": method, "image_format": image_format, "previews": previews},
        "resources": {"precision": precision},
    }
    spec = common.build_spec(RunSpec, flags)
    run_spec(spec, None, common)
