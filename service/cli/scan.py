"""The command `scan`. Takes flags, scans a corpus or prints the plan."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.options import Common, Label, Layers, Method, with_common_flags
from service.cli.running import format_seconds, format_size, parse_number, run_spec
from service.cli.terminal import echo

if TYPE_CHECKING:
    from workers.spec.scan import RunSpec


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
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the plan, process a few images to estimate size and time, and write nothing under the root.",
        ),
    ] = False,
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
    if dry_run:
        _print_plan(spec, as_json=common.as_json)
    else:
        run_spec(spec, None, as_json=common.as_json)


def _print_plan(spec: "RunSpec", *, as_json: bool) -> None:
    from jobs.dry_run import dry_run
    from service.cli.console import print_json, print_table

    plan = asdict(dry_run(spec))
    if plan.get("depth") is None:
        plan.pop("depth", None)
    if as_json:
        print_json(plan)
        return
    warning = plan.pop("warning")
    rows = [{"what": name.replace("_", " "), "plan": text} for name, text in _texts(plan)]
    print_table(rows, {"what": "what", "plan": "plan"})
    if warning:
        echo(warning)


def _texts(plan: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The lines of a plan, for people."""
    from workers.sources.source import describe

    hidden = ("not_measured", "estimated_table_bytes", "estimated_seconds")
    not_measured, tables, seconds = (plan.pop(key) for key in hidden)
    for name, value in plan.items():
        if name == "estimated_bytes":
            results = value - tables
            yield (
                "estimated_size",
                f"about {format_size(tables)} of tables and {format_size(results)} of new results",
            )
            yield "estimated_time", f"about {format_seconds(seconds)}" if seconds is not None else "not measured"
        else:
            yield name, (describe(value) or "nothing") if name == "passed_over" else str(value)
    if not_measured:
        yield "not_measured", not_measured
