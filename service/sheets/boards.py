"""The sheet of each kind of instrument. Takes a kind, gives the function that draws a published run of it as one picture."""

from collections.abc import Callable, Mapping

from PIL import Image

from service.query.catalog import PublishedRun
from service.sheets import correspondence, filmstrip, filters, invariance, inversion, occlusion, sanity

BOARDS: Mapping[str, Callable[[PublishedRun], Image.Image]] = {
    "occlude": occlusion.draw,
    "invert": inversion.draw,
    "sanity": sanity.draw,
    "filters": filters.draw,
    "evolve": filmstrip.draw,
    "invariance": invariance.draw,
    "correspondence": correspondence.draw,
}
