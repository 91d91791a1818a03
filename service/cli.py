"""The command `deconvoy`. Takes words, gives text or one JSON value; work is done elsewhere, imported when it is needed."""

import json
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from service import catalog, query
from service import sheet as sheets
from service.console import Bars
from workers import spec as specs
from workers.errors import DeconvoyError, QueryError, SpecError
from workers.store.root import Root

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
queries = typer.Typer(no_args_is_help=True, help="Ask a published run.")
app.add_typer(queries, name="query")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
RootOption = Annotated[str, typer.Option("--root", help="Folder or URL that holds the datasets.")]
RunOption = Annotated[str | None, typer.Option("--run", help="Run id; the newest run without it.")]
LayerOption = Annotated[str, typer.Option("--layer", help="Name of a layer.")]


def main() -> None:
    """Run the command; errors of ours are one line on standard error, with their exit code."""
    try:
        app()
    except DeconvoyError as error:
        print(f"deconvoy: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("deconvoy: cancelled; the same command goes on from here", file=sys.stderr)  # noqa: T201
        sys.exit(130)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"deconvoy {version('deconvoy')}")
        raise typer.Exit


@app.callback()
def _options(
    show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """See what every channel of a convolutional network looks for."""
    del show


@app.command()
def demo(
    root: Annotated[str, typer.Option(help="Folder to write to.")] = "deconvoy-demo",
    actors: Annotated[str, typer.Option(help="Number of actors, or auto.")] = "auto",
    as_json: Json = False,
) -> None:
    """Scan the embedded photographs with the embedded network and draw its channels."""
    from jobs.demo import demo as run_demo

    watch = Bars()
    try:
        outcome = run_demo(root, watch, int(actors) if actors.isdigit() else actors)
    finally:
        watch.close()
    drawn = _draw_demo(Path(root))
    if as_json:
        _print_json({**asdict(outcome), "sheets": drawn})
        return
    typer.echo(f"\ndatasets: {outcome.root}/tables/*/run={outcome.run}/\nsheets:   " + "\n          ".join(drawn))
    typer.echo(f"look on:  deconvoy query units --root {outcome.root} --layer relu5 --sort max")
    typer.echo(
        "your own: deconvoy scan --model 'torchvision://resnet18?weights=FILE.safetensors' --corpus FOLDER --root ROOT"
    )


def _draw_demo(folder: Path) -> list[str]:
    run = catalog.find(Root(str(folder / "atlas")), "demo")
    drawn = []
    for layer in run.layers:
        path = folder / f"{layer['name']}.png"
        sheets.sheet(run, layer["name"], 0, min(23, layer["channels"] - 1)).save(path)
        drawn.append(str(path))
    return drawn


@app.command()
def layers(model: str, as_json: Json = False) -> None:
    """Print the layers of a model."""
    from workers.model import load

    network = load(specs.ModelSpec(source=model)).network
    rows = [
        {
            "index": layer.index, "layer": layer.name, "kind": layer.kind, "channels": layer.channels,
            "map": f"{layer.height} x {layer.width}", "field": f"{layer.field.height} x {layer.field.width}",
            "stride": layer.field.stride_y, "auto": layer.auto,
        }
        for layer in network.layers
    ]  # fmt: skip
    _print_rows(rows, as_json=as_json)


@app.command()
def scan(  # noqa: PLR0913 - one parameter per flag
    model: Annotated[str | None, typer.Option(help="deconvoy://NAME or torchvision://NAME, ?weights=FILE.")] = None,
    corpus: Annotated[str | None, typer.Option(help="Folder or glob of images.")] = None,
    root: Annotated[str | None, typer.Option(help="Folder or URL for the datasets.")] = None,
    run: Annotated[str | None, typer.Option(help="Run id.")] = None,
    layers: Annotated[list[str] | None, typer.Option(help="Layer, glob or auto; repeated.")] = None,
    k: Annotated[int | None, typer.Option(help="Images kept per channel.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images in one forward pass.")] = None,
    shard: Annotated[int | None, typer.Option(help="Images in one shard, a multiple of the batch.")] = None,
    distinct: Annotated[str | None, typer.Option(help="What counts once: content, group or none.")] = None,
    group: Annotated[str | None, typer.Option(help="none, folder, or a regular expression on the image id.")] = None,
    label: Annotated[str | None, typer.Option(help="folder or none.")] = None,
    method: Annotated[str | None, typer.Option(help="deconvnet, guided_backprop or gradient.")] = None,
    image_format: Annotated[str | None, typer.Option(help="webp, or png for lossless everywhere.")] = None,
    previews: Annotated[bool | None, typer.Option(help="Keep small copies of the top images.")] = None,
    max_reject_share: Annotated[
        float | None, typer.Option(help="Share of rejects above which the exit code is 3.")
    ] = None,
    actors: Annotated[str | None, typer.Option(help="Number of actors, or auto.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or auto.")] = None,
    precision: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of one actor.")] = None,
    spec: Annotated[Path | None, typer.Option(help="Spec file; flags win over it.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and do nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Find each channel's strongest images in a corpus and carry their activation down to pixels."""
    flags = {
        "run": run, "root": root, "model": {"source": model}, "corpus": {"source": corpus, "label": label, "group": group},
        "scan": {"layers": layers or None, "k": k, "batch": batch, "shard": shard, "distinct": distinct, "max_reject_share": max_reject_share},
        "project": {"method": method, "image_format": image_format, "previews": previews},
        "resources": {"actors": _number(actors), "device": device, "precision": precision, "threads": threads},
    }  # fmt: skip
    values = specs.make_spec(specs.merged(_spec_file(spec), flags))
    if dry_run:
        from jobs.dry_run import dry_run as plan_only

        told = asdict(plan_only(values))
        if as_json:
            _print_json(told)
        else:
            _print_rows([{"what": key, "value": str(value)} for key, value in told.items()], as_json=False)
        return
    from jobs.scan import scan as run_scan

    watch = Bars()
    try:
        outcome = run_scan(values, watch)
    finally:
        watch.close()
    _tell(outcome, as_json=as_json)
    raise typer.Exit(outcome.exit_code)


def _tell(outcome: Any, *, as_json: bool) -> None:  # noqa: ANN401 - jobs are imported lazily
    if as_json:
        _print_json(asdict(outcome))
        return
    done = "was published before" if outcome.already_published else "is published"
    rate = f", {outcome.images_per_s:.0f} images/s" if outcome.images_per_s else ""
    typer.echo(f"run {outcome.run} {done}: {outcome.images} images, {outcome.rejects} rejects{rate}")
    typer.echo(f"tables: {outcome.root}/tables/*/run={outcome.run}/")
    typer.echo(
        f"look:   deconvoy query sheet --root {outcome.root} --run {outcome.run} --layer LAYER --channels 0-23 -o sheet.png"
    )


def _number(text: str | None) -> int | str | None:
    return int(text) if text and text.isdigit() else text


def _spec_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([f"spec file {str(path)!r} cannot be read: {error}"]) from error
    return specs.read_toml(text, path.parent)


@queries.command()
def top(
    root: RootOption, layer: LayerOption, channel: int = typer.Option(...), run: RunOption = None, as_json: Json = False
) -> None:
    """The strongest images of a channel."""
    rows = query.top(catalog.find(Root(root), run), layer, channel)
    _print_rows(rows, as_json=as_json, columns=("rank", "score", "image_id", "label", "y", "x"))


@queries.command()
def units(
    root: RootOption,
    layer: LayerOption,
    sort: str = typer.Option("channel", help="channel, dead, max, mean or active_share."),
    run: RunOption = None,
    as_json: Json = False,
) -> None:
    """The channels of a layer and their statistics."""
    known = ("channel", "dead", "max", "mean", "active_share")
    if sort not in known:
        raise QueryError(f"cannot sort by {sort!r}; one of {', '.join(known)}")
    rows = query.units(catalog.find(Root(root), run), layer, sort)  # type: ignore[arg-type]
    _print_rows(rows, as_json=as_json)


@queries.command()
def image(root: RootOption, image_id: str, run: RunOption = None, as_json: Json = False) -> None:
    """The channels that an image tops."""
    rows = query.image(catalog.find(Root(root), run), image_id)
    _print_rows(rows, as_json=as_json, columns=("layer", "channel", "rank", "score", "y", "x"))


@queries.command()
def sheet(
    root: RootOption,
    layer: LayerOption,
    channels: str = typer.Option("0-23", help="A channel, or a range such as 0-23."),
    output: Path = typer.Option(Path("sheet.png"), "-o", "--output", help="PNG to write."),
    run: RunOption = None,
) -> None:
    """Draw channels as the paper's Figure 2: projections beside patches."""
    first, _, last = channels.partition("-")
    if not (first.isdigit() and (last or first).isdigit() and int(first) <= int(last or first)):
        raise QueryError(f"channels {channels!r} is no range; write 7 or 0-23")
    sheets.sheet(catalog.find(Root(root), run), layer, int(first), int(last or first)).save(output)
    typer.echo(str(output))


def _print_rows(rows: list[dict[str, Any]], *, as_json: bool, columns: tuple[str, ...] | None = None) -> None:
    if as_json:
        _print_json(rows)
        return
    names = columns or tuple(rows[0]) if rows else columns or ()
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, justify="right" if isinstance(rows[0][name], int | float) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_text(row[name]) for name in names))
    Console().print(table)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, default=str))
