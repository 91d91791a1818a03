"""The sheet of two scans' channels side by side. Takes pairs of channels, gives one picture.

A block is a channel: on the left its patches in the first scan, on the right those of the channel that it is compared with.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from service.query import comparing, scans
from service.query.catalog import PublishedRun
from service.query.comparing import Pair
from service.query.matching import Match
from service.query.scans import PlacedCell
from service.sheets import canvas, contact
from service.sheets.cells import GROUND, geometry, grid
from service.sheets.contact import INK, LABEL_PX, PAIR_GAP_PX
from service.sheets.tiles import Pen, images_cut, read_photos


@dataclass(frozen=True, eq=False)
class _Side:
    """A channel of one scan, and the words above its patches."""

    run: PublishedRun
    layer: str
    channel: int
    title: str


def sheet(
    runs: tuple[PublishedRun, PublishedRun], layer: str, pairs: Sequence[Pair | Match], order: str
) -> Image.Image:
    """Draw channels of a layer beside those that they are compared with.

    Args:
        runs: the two scans.
        layer: name of the layer in the first one.
        pairs: its channels, in their order on the sheet.
        order: that order, in words.

    Raises:
        QueryError: the channels do not fit on a page.
        DamagedRun: a run's files are not the ones that its manifest names.
    """
    is_comparable = comparing.count_common(*runs) > 0
    blocks = [(_label(pair, is_comparable=is_comparable), _sides(runs, layer, pair)) for pair in pairs]
    sides = [side for _, some in blocks for side in some]
    for side in sides:
        contact.check_fits(geometry(side.run, side.run.layer(side.layer)), len(blocks))
    drawn = _draw_sides(sides)
    known = order if is_comparable else "the corpora have no file in common"
    title = [f"{runs[0].run} and {runs[1].run}", f"layer {layer}", known, "patches"]
    return contact.page_of([_block(label, some, drawn) for label, some in blocks], title)


def _label(pair: Pair | Match, *, is_comparable: bool) -> str:
    if not is_comparable:
        return f"channel {pair.channel}"
    known = "no top images" if pair.overlap is None else f"{100 * pair.overlap:.0f} % of top images in common"
    return f"channel {pair.channel} · {known}"


def _sides(runs: tuple[PublishedRun, PublishedRun], layer: str, pair: Pair | Match) -> list[_Side]:
    """A channel and the one of the same number, or its best match, if there is one."""
    first, second = runs
    sides = [_Side(first, layer, pair.channel, first.run)]
    if isinstance(pair, Pair):
        sides.append(_Side(second, layer, pair.channel, second.run))
    elif pair.layer is not None and pair.other is not None:
        sides.append(_Side(second, pair.layer, pair.other, f"{second.run} · {pair.layer} · {pair.other}"))
    return sides


def _draw_sides(sides: Sequence[_Side]) -> dict[_Side, Image.Image]:
    """The patches of each side; those of a layer are read together."""
    by_layer: defaultdict[tuple[str, str], list[_Side]] = defaultdict(list)
    for side in sides:
        by_layer[side.run.run, side.layer].append(side)
    return {side: picture for some in by_layer.values() for side, picture in _draw_layer(some)}


def _draw_layer(sides: Sequence[_Side]) -> list[tuple[_Side, Image.Image]]:
    run, layer = sides[0].run, sides[0].layer
    form, cells = geometry(run, run.layer(layer)), defaultdict[int, list[PlacedCell]](list)
    for cell in scans.cells(run, layer, {side.channel for side in sides}):
        cells[cell.channel].append(cell)
    pen = Pen(form, "filled", read_photos(run, images_cut((cell for some in cells.values() for cell in some), form)))
    return [(side, grid([pen.draw(cell, projection=False) for cell in cells[side.channel]], form)) for side in sides]


def _block(label: str, sides: Sequence[_Side], drawn: Mapping[_Side, Image.Image]) -> Image.Image:
    """A label, below it the titles of the sides, and below each its patches."""
    font = ImageFont.load_default(LABEL_PX)
    pictures = [drawn[side] for side in sides]
    step, top = pictures[0].width + PAIR_GAP_PX, 2 * (LABEL_PX + 6)
    width = max(math.ceil(font.getlength(label)), (len(sides) - 1) * step + pictures[-1].width)
    page = Image.new("RGB", (width, top + max(picture.height for picture in pictures)), GROUND)
    draw = ImageDraw.Draw(page)
    draw.text((0, LABEL_PX), label, INK, font, anchor="ls")
    for number, (side, picture) in enumerate(zip(sides, pictures, strict=True)):
        title = canvas.shorten(side.title, picture.width, font)
        draw.text((number * step, top - 6), title, INK, font, anchor="ls")
        page.paste(picture, (number * step, top))
    return page
