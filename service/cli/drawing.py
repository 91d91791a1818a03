"""Sheets as files. Takes published runs and channel lists, writes PNG files, and gives the command that draws a run."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from workers.errors import QueryError, UsageError
from workers.store.root import Root

if TYPE_CHECKING:
    from PIL import Image

    from service.query.catalog import PublishedRun
    from service.query.scans import View

SHEET_CHANNELS = 24
STRIP_CHANNELS = 12
MOST_CHANNELS = 65_536  # more than any layer has
DIGITS = 19  # of the largest 64-bit integer; Python refuses to read thousands


def draw_all(root: Root, run: str, folder: Path) -> list[str]:
    """Draw every layer of a scan to `LAYER.png` in a folder, and give the paths."""
    from service.query import catalog, scans

    published = catalog.find(root, run)
    sheets = {layer.name: folder / f"{layer.name}.png" for layer in published.layers}
    for layer, path in sheets.items():
        draw_layer(published, layer, scans.living(published, layer, SHEET_CHANNELS), path)
    return [str(path) for path in sheets.values()]


def draw_command(run: "PublishedRun") -> str:
    """The command that draws a run; for a scan, a layer in the middle."""
    words = ["deconvoy", "query", "sheet", "--root", run.root.url, "--run", run.run]
    if run.job != "scan":
        return shlex.join([*words, "-o", f"{run.job}.png"])
    layer = run.layers[len(run.layers) // 2].name
    return shlex.join([*words, "--layer", layer, "-o", f"{layer}.png"])


def parse_channels(text: str, count: int = MOST_CHANNELS) -> tuple[int, ...]:
    """Channel numbers from a list such as 7, 0-23 or 3,7,40-44; ranges include both ends.

    Raises:
        QueryError: the list is malformed, or a channel is not below `count`.
    """
    channels: dict[int, None] = {}
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        ends = (first, last) if dash else (first, first)
        if not all(end.isdecimal() and len(end) <= DIGITS for end in ends) or int(ends[0]) > int(ends[1]):
            raise QueryError(f"{text!r} is not a valid list of channels; use 7, 0-23 or 3,7,40-44")
        if count == MOST_CHANNELS and int(ends[1]) >= count:
            raise QueryError(f"{text!r} is not a valid list of channels; the largest number is {count - 1}")
        if int(ends[1]) >= count:
            raise QueryError(f"no channel {int(ends[1])} in the layer; it has 0 to {count - 1}")
        channels |= dict.fromkeys(range(int(ends[0]), int(ends[1]) + 1))
    return tuple(channels)


def draw_run(root: str, run: str, output: Path) -> None:
    """Draw a published run of an instrument, by its id, to a file.

    Raises:
        UsageError: the picture cannot be written.
    """
    from service.query import catalog

    draw_instrument(catalog.find(Root(root), run, None), output)


def draw_instrument(run: "PublishedRun", output: Path) -> None:
    """Draw a run of an instrument to a file.

    Raises:
        UsageError: the picture cannot be written.
    """
    from service.sheets import boards

    check_output(output)
    save(boards.BOARDS[run.job](run), output)


def draw_layer(
    run: "PublishedRun", layer: str, channels: tuple[int, ...], output: Path, *, exact: bool = False
) -> None:
    """Draw the contact sheet of some channels of a layer to a file; see `contact.sheet`.

    Raises:
        UsageError: the picture cannot be written.
    """
    from service.sheets import contact

    check_output(output)
    save(contact.sheet(run, layer, channels, "exact" if exact else "filled"), output)


def draw_strips(
    run: "PublishedRun", layer: str | None, channels: tuple[int, ...], output: Path, *, exact: bool = False
) -> tuple[int, ...]:
    """Draw channels by checkpoint to a file, and give those that were drawn, unless all layers are.

    Args:
        run: a run of checkpoints.
        layer: the layer; None for the most changed channels of every layer.
        channels: channels of the layer in their order; if there are none, the most changed ones.
        output: the file.
        exact: leave what lies outside the model's input grey.

    Raises:
        UsageError: the picture cannot be written.
    """
    from service.sheets import evolve

    check_output(output)
    view: View = "exact" if exact else "filled"
    if layer is None:
        save(evolve.draw(run, view), output)
        return ()
    drawn = channels or evolve.most_changed(run, layer, STRIP_CHANNELS)
    save(evolve.strips(run, [(layer, drawn)], view, "" if channels else evolve.MOST_CHANGED), output)
    return drawn


def check_output(output: Path | None) -> None:
    """Check, before any work starts, that a picture can be written.

    Raises:
        UsageError: the name does not end in `.png`, or the folder does not exist.
    """
    if output is None:
        return
    if output.suffix.lower() != ".png":
        raise UsageError(f"output {str(output)!r} is not a PNG file; use a name that ends in .png")
    if not output.parent.is_dir():
        raise UsageError(f"output {str(output)!r} cannot be written: no folder {str(output.parent)!r}")


def save(picture: "Image.Image", output: Path) -> None:
    """Write a picture as PNG.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        picture.save(output, "PNG")
    except OSError as error:
        raise UsageError(f"output {str(output)!r} cannot be written: {error.strerror or error}") from error
