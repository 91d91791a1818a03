"""Sheets as files. Takes published runs and words for channels, writes PNGs; says what to look at next."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from workers.errors import QueryError, UsageError
from workers.store.root import Root

if TYPE_CHECKING:
    from PIL import Image

    from service.query.catalog import PublishedRun

SHEET_CHANNELS = 24
STRIP_CHANNELS = 12


def draw_all(root: Root, run: str, folder: Path) -> list[str]:
    """A sheet of every layer of a run, as `<layer>.png` in a folder; gives their paths."""
    from service.query import catalog, scans

    found = catalog.find(root, run)
    sheets = {layer.name: folder / f"{layer.name}.png" for layer in found.layers}
    for layer, path in sheets.items():
        draw_layer(found, layer, scans.living(found, layer, SHEET_CHANNELS), path)
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


def draw_run(root: str, run: str, output: Path) -> None:
    """Draw a published run of an instrument to a file.

    Raises:
        UsageError: the picture cannot be written.
    """
    from service.query import catalog

    draw_instrument(catalog.find(Root(root), run, None), output)


def draw_instrument(run: "PublishedRun", output: Path) -> None:
    """Draw a run of an instrument.

    Raises:
        UsageError: the picture cannot be written.
    """
    from service.sheets import boards

    check_output(output)
    save(boards.BOARDS[run.job](run), output)


def draw_layer(run: "PublishedRun", layer: str, channels: tuple[int, ...], output: Path) -> None:
    """Draw some channels of a layer.

    Raises:
        UsageError: the picture cannot be written.
    """
    from service.sheets import contact as sheets

    check_output(output)
    save(sheets.sheet(run, layer, channels), output)


def changing(run: "PublishedRun", layer: str) -> tuple[int, ...]:
    """Channels of a layer whose strips are worth a look."""
    from service.sheets import filmstrip

    return filmstrip.sample(run, layer, STRIP_CHANNELS)


def draw_strips(run: "PublishedRun", layer: str, channels: tuple[int, ...], output: Path) -> None:
    """Draw channels of a layer over a training.

    Raises:
        UsageError: the picture cannot be written.
    """
    from service.sheets import filmstrip

    check_output(output)
    save(filmstrip.strips(run, [(layer, channels)]), output)


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


def save(drawn: "Image.Image", output: Path) -> None:
    """Write a picture.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        drawn.save(output, "PNG")
    except OSError as error:
        raise UsageError(f"sheet {str(output)!r} cannot be written: {error.strerror or error}") from error
