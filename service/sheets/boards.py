"""The sheet of each kind of instrument. Takes a kind, gives the function that draws a published run of it as one picture.

The file `service/sheets/KIND.py` draws a run of this kind with its function `draw`. Layers of a scan are drawn by `contact`.
"""

from collections.abc import Callable, Mapping
from importlib import import_module

from PIL import Image

from service.query.catalog import PublishedRun
from workers.kinds import Kind

Board = Callable[[PublishedRun], Image.Image]


def _draw(kind: Kind) -> Board:
    draw: Board = import_module(f"service.sheets.{kind}").draw
    return draw


BOARDS: Mapping[Kind, Board] = {kind: _draw(kind) for kind in Kind if kind is not Kind.SCAN}
