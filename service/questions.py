"""The command `deconvoy query`. Takes words, gives tables, JSON or a contact sheet of a published run."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workers.errors import QueryError, UsageError
from workers.store.root import Root

if TYPE_CHECKING:
    from PIL import Image

    from service.catalog import PublishedRun
    from service.query import Top

MODEL = "deconvoy://NAME or torchvision://NAME, with ?weights=FILE or ?weights=ENUM."
SHEET_CHANNELS = 24

app = typer.Typer(no_args_is_help=True, help="Ask a published run.")

RootOption = Annotated[str, typer.Option("--root", help="Folder or URL that holds the datasets.")]
RunOption = Annotated[str | None, typer.Option("--run", help="Run id; the newest run without it.")]
LayerOption = Annotated[str, typer.Option("--layer", help="Name of a layer.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, help="Rows at most.")]

_TOP = {"rank": "rank", "score": "score", "image_id": "image", "label": "label", "location": "y, x", "box": "field"}
_UNIT = ("channel", "images", "max", "mean", "std", "active_share", "q50", "q99", "dead")
_IMAGE = {"layer": "layer", "channel": "channel", "rank": "rank", "score": "score", "location": "y, x", "box": "field"}


@app.command()
def top(
    root: RootOption,
    layer: LayerOption,
    channel: Annotated[int, typer.Option(help="Channel of the layer.")],
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the images that top a channel, best first."""
    from service import catalog, query

    _show_top(query.top(catalog.find(Root(root), run), layer, channel), _TOP, as_json=as_json)


@app.command()
def units(
    root: RootOption,
    layer: LayerOption,
    sort: Annotated[str, typer.Option(help="channel, dead, max, mean, std or active_share.")] = "channel",
    limit: LimitOption = None,
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the statistics of a layer's channels: dead ones first, the largest first, or by channel."""
    from service import catalog, query
    from service.console import print_json, print_table

    rows = [asdict(row) for row in query.units(catalog.find(Root(root), run), layer, sort, limit)]
    if as_json:
        print_json(rows)
        return
    print_table(rows, {name: name.replace("_", " ") for name in _UNIT})


@app.command()
def image(
    image_id: Annotated[str, typer.Argument(help="Key of the image in the corpus, or its uri.")],
    root: RootOption,
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the channels that an image tops."""
    from service import catalog, query

    _show_top(query.image(catalog.find(Root(root), run), image_id), _IMAGE, as_json=as_json)


@app.command()
def sheet(
    root: RootOption,
    layer: Annotated[str | None, typer.Option("--layer", help="Name of a layer, of a scan's run.")] = None,
    channels: Annotated[
        str | None,
        typer.Option(help=f"Such as 7, 0-23 or 3,7,40-44; without it the first {SHEET_CHANNELS} that are not dead."),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="PNG to write.")] = Path("sheet.png"),
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw a run as Zeiler & Fergus do: Figure 2 for a scan, 7 for occlusion, 6 for filters; inversions by layer."""
    from service import catalog, query
    from service.console import print_json

    found = catalog.find(Root(root), run, None if layer is None else "scan")
    wanted: tuple[int, ...] = ()
    if found.job != "scan":
        draw_instrument(found, output)
    elif layer is None:
        raise QueryError(f"run {found.run!r} is a scan: name a --layer, such as {found.layers[-1].name}")
    else:
        about = found.layer(layer)
        wanted = numbers(channels, about.channels) if channels else query.living(found, layer, SHEET_CHANNELS)
        _draw(found, layer, wanted, output)
    if as_json:
        print_json({"run": found.run, "layer": layer, "channels": wanted, "sheet": str(output)})
    else:
        typer.echo(str(output))


def draw_all(root: Root, run: str, folder: Path) -> list[str]:
    """A sheet of every layer of a run, as `<layer>.png` in a folder; gives their paths."""
    from service import catalog, query

    found = catalog.find(root, run)
    sheets = {layer.name: folder / f"{layer.name}.png" for layer in found.layers}
    for layer, path in sheets.items():
        _draw(found, layer, query.living(found, layer, SHEET_CHANNELS), path)
    return [str(path) for path in sheets.values()]


def next_look(run: "PublishedRun") -> str:
    """The command that draws a run: of a scan a layer in its middle."""
    words = ["deconvoy", "query", "sheet", "--root", run.root.url, "--run", run.run]
    if run.job != "scan":
        return shlex.join([*words, "-o", f"{run.job}.png"])
    layer = run.layers[len(run.layers) // 2].name
    return shlex.join([*words, "--layer", layer, "-o", f"{layer}.png"])


def numbers(text: str, count: int) -> tuple[int, ...]:
    """Channels of a layer of `count` channels out of words such as 7, 0-23 or 3,7,40-44; both ends count.

    Raises:
        QueryError: the words are none, or name channels that the layer does not have.
    """
    found: dict[int, None] = {}
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        ends = (first, last) if dash else (first, first)
        if not all(end.isdecimal() for end in ends) or int(ends[0]) > int(ends[1]):
            raise QueryError(f"channels {text!r} is no list of channels; write 7, 0-23 or 3,7,40-44")
        if int(ends[1]) >= count:
            raise QueryError(f"no channel {int(ends[1])} in the layer; it has 0 to {count - 1}")
        found |= dict.fromkeys(range(int(ends[0]), int(ends[1]) + 1))
    return tuple(found)


def draw_instrument(run: "PublishedRun", output: Path) -> None:
    """Draw a run of occlusion, inversion or filters.

    Raises:
        UsageError: the picture cannot be written.
    """
    from service import boards

    check_output(output)
    _save(boards.BOARDS[run.job](run), output)


def _draw(run: "PublishedRun", layer: str, channels: tuple[int, ...], output: Path) -> None:
    from service import sheet as sheets

    check_output(output)
    _save(sheets.sheet(run, layer, channels), output)


def check_output(output: Path | None) -> None:
    """Refuse a picture that could not be written, before anything is done for it.

    Raises:
        UsageError: it has another ending, or its folder is not there.
    """
    if output is None:
        return
    if output.suffix.lower() != ".png":
        raise UsageError(f"sheet {str(output)!r} must be named something.png")
    if not output.parent.is_dir():
        raise UsageError(f"sheet {str(output)!r} cannot be written: No such file or directory")


def _save(drawn: "Image.Image", output: Path) -> None:
    try:
        drawn.save(output, "PNG")
    except OSError as error:
        raise UsageError(f"sheet {str(output)!r} cannot be written: {error.strerror or error}") from error


def _show_top(rows: "tuple[Top, ...]", columns: dict[str, str], *, as_json: bool) -> None:
    from service.console import print_json, print_table

    plain = [asdict(row) for row in rows]
    if as_json:
        print_json(plain)
        return
    shown = [{**row, "location": f"{row['y']}, {row['x']}", "box": _box(row)} for row in plain]
    print_table(shown, columns)


def _box(row: dict[str, int]) -> str:
    """Rows and columns of the receptive field, model-input pixels."""
    return f"{row['box_top']}:{row['box_bottom']}, {row['box_left']}:{row['box_right']}"
