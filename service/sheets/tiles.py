"""Patches and projections that fill their tiles. Takes cells and copies of their photos, gives pictures of one size.

The receptive fields of many units leave the model's input. Where the photo continues there, its own pixels are shown, dimmed;
where it ends, the tile zooms to the part of the field nearest its centre that fills the tile. `cells` draws the whole field.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import pyarrow.compute as pc
from PIL import Image, ImageEnhance

from service.query.catalog import PublishedRun
from service.query.reading import read
from service.query.scans import PlacedCell, View
from service.sheets import canvas
from service.sheets.cells import GROUND, Geometry, around, centred, draw_picture, restore_contrast, strike_through
from workers.store.tables.scan import PREVIEWS
from workers.store.tables.shared import IMAGES

DIMMED = 0.4  # brightness of what the model did not see
PIXELATED_FROM = 4.0  # pixels enlarged at least this much are drawn as squares


@dataclass(frozen=True)
class Photo:
    """A small copy of a whole image, and the height and width of the image, source pixels."""

    encoded: bytes
    height: int
    width: int


@dataclass(frozen=True)
class Pen:
    """Draws the cells of a layer.

    Attributes:
        form: their geometry.
        view: whether they are filled, or show exactly the receptive field.
        photos: copies of images by their index, to fill cells with.
    """

    form: Geometry
    view: View
    photos: Mapping[int, Photo]

    def draw(self, cell: PlacedCell, *, projection: bool) -> Image.Image:
        """A cell's projection, or its patch."""
        form = around(self.form, cell.box, is_whole=self.view == "exact")
        if self.view == "exact":
            return centred(draw_picture(cell, projection, form), self.form)
        filled = tile(cell, projection=projection, form=form, photo=self.photos.get(cell.image_index))
        return centred(filled, self.form)


@dataclass(frozen=True)
class Area:
    """A rectangle in model-input pixels; it may leave the input."""

    top: float
    left: float
    bottom: float
    right: float

    @property
    def height(self) -> float:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> float:
        """Columns."""
        return self.right - self.left

    @property
    def is_empty(self) -> bool:
        """Whether it has no pixel."""
        return self.height <= 0 or self.width <= 0

    def cut(self, other: "Area") -> "Area":
        """The part that lies in another rectangle; empty if there is none."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        return Area(top, left, max(top, min(self.bottom, other.bottom)), max(left, min(self.right, other.right)))

    def hull(self, other: "Area") -> "Area":
        """The smallest rectangle around both."""
        return Area(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )


def leaves_input(cell: PlacedCell, form: Geometry) -> bool:
    """Whether the cell's receptive field leaves the model's input."""
    top, left, bottom, right = cell.box
    return top < 0 or left < 0 or bottom > form.input_height or right > form.input_width


def images_cut(cells: Iterable[PlacedCell], form: Geometry) -> set[int]:
    """The images of cells whose fields leave the model's input."""
    return {cell.image_index for cell in cells if leaves_input(cell, form)}


def read_photos(run: PublishedRun, images: Collection[int]) -> dict[int, Photo]:
    """Copies of images by their index, as far as the run has them."""
    if not images or PREVIEWS.name not in run.tables:
        return {}
    wanted = pc.field("image_index").isin(sorted(images))
    columns = {"image_index": pc.field("image_index"), "preview": pc.field("preview", "bytes")}
    previews = read(run, PREVIEWS, wanted, columns).to_pylist()
    sizes = read(run, IMAGES, wanted, ["image_index", "height", "width"]).to_pylist()
    known = {row["image_index"]: (row["height"], row["width"]) for row in sizes if row["height"] and row["width"]}
    stored = [(row["image_index"], row["preview"]) for row in previews if row["preview"]]
    return {index: Photo(preview, *known[index]) for index, preview in stored if index in known}


def tile(cell: PlacedCell, *, projection: bool, form: Geometry, photo: Photo | None = None) -> Image.Image:
    """A patch or projection that fills its tile.

    Args:
        cell: the patch and projection.
        projection: whether to draw the projection.
        form: the cells of the layer; the tile has their size.
        photo: the cell's image, to continue a patch beyond the model's input.
    """
    shown = window(cell, form, photo)
    page = Image.new("RGB", form.cell, GROUND)
    encoded = cell.projection if projection else cell.patch
    if encoded is None:
        strike_through(page)
        return page
    if photo and not projection and leaves_input(cell, form):
        _paste(page, canvas.decode(photo.encoded), _photo_area(cell, photo), shown, DIMMED)
    _paste(page, canvas.decode(encoded), seen(cell, form), shown)
    return restore_contrast(page) if projection and page.height < shown.height else page


def window(cell: PlacedCell, form: Geometry, photo: Photo | None = None) -> Area:
    """The part of the model's input plane that a tile shows, model-input pixels.

    It has the shape of the layer's cells and their size, or less where the image ends; it lies as near the centre of the
    receptive field as the image allows, and contains all that the unit saw if that fits.
    """
    saw, field = seen(cell, form), Area(*map(float, cell.box))
    known = _known(saw, field, _photo_area(cell, photo) if photo else None)
    zoom = min(1.0, known.height / form.height, known.width / form.width)
    height, width = zoom * form.height, zoom * form.width
    top = _place(height, (field.top, field.bottom), (saw.top, saw.bottom), (known.top, known.bottom))
    left = _place(width, (field.left, field.right), (saw.left, saw.right), (known.left, known.right))
    return Area(top, left, top + height, left + width)


def _known(saw: Area, field: Area, photo: Area | None) -> Area:
    """The part of a field whose pixels are known; the whole field if there are none, as for a unit that sees only padding."""
    parts = [part for part in (saw, photo.cut(field) if photo else None) if part and not part.is_empty]
    if not parts:
        return field
    return parts[0] if len(parts) == 1 else parts[0].hull(parts[1])


def seen(cell: PlacedCell, form: Geometry) -> Area:
    """The receptive field cut to the model's input: what the stored pictures show."""
    return Area(*map(float, cell.box)).cut(Area(0, 0, form.input_height, form.input_width))


def _place(length: float, field: tuple[float, float], saw: tuple[float, float], known: tuple[float, float]) -> float:
    """The start of a window: centred on the field, moved to contain what was seen if that fits, and into what is known."""
    start = (sum(field) - length) / 2
    if saw[1] - saw[0] <= length:
        start = min(max(start, saw[1] - length), saw[0])
    return min(max(start, known[0]), known[1] - length)


def _photo_area(cell: PlacedCell, photo: Photo) -> Area:
    """Where the whole photo lies in the plane of the model's input, within one source pixel: source boxes are rounded outward."""
    top, left, bottom, right = cell.box
    source_top, source_left, source_bottom, source_right = cell.source_box
    down, across = (bottom - top) / (source_bottom - source_top), (right - left) / (source_right - source_left)
    start_y, start_x = top - source_top * down, left - source_left * across
    return Area(start_y, start_x, start_y + photo.height * down, start_x + photo.width * across)


def _paste(page: Image.Image, picture: Image.Image, area: Area, shown: Area, brightness: float = 1.0) -> None:
    """Draw the part of a picture that the page shows.

    Args:
        page: the page.
        picture: fills `area`.
        area: where the picture lies, model-input pixels.
        shown: what the page shows, likewise.
        brightness: 1 for the picture as it is.
    """
    part = area.cut(shown)
    down, across = page.height / shown.height, page.width / shown.width
    top, bottom = round((part.top - shown.top) * down), round((part.bottom - shown.top) * down)
    left, right = round((part.left - shown.left) * across), round((part.right - shown.left) * across)
    if bottom <= top or right <= left:
        return
    rows, columns = picture.height / area.height, picture.width / area.width  # of the picture per model-input pixel
    box = (
        max(0.0, (part.left - area.left) * columns),
        max(0.0, (part.top - area.top) * rows),
        min(float(picture.width), (part.right - area.left) * columns),
        min(float(picture.height), (part.bottom - area.top) * rows),
    )
    drawn = picture.resize((right - left, bottom - top), _filter(down / rows), box)
    page.paste(ImageEnhance.Brightness(drawn).enhance(brightness) if brightness != 1 else drawn, (left, top))


def _filter(enlarged: float) -> Image.Resampling:
    if enlarged >= PIXELATED_FROM:
        return Image.Resampling.NEAREST
    return Image.Resampling.BICUBIC if enlarged > 1 else Image.Resampling.LANCZOS
