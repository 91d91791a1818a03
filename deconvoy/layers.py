"""Layers and channels of a run. Takes a published run, gives tables, patches and projections, and contact sheets."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from deconvoy.pictures import Picture, encode_png
from deconvoy.rows import read_table
from service.atlas.pictures import SHOWN_AS, Pictures
from service.query import scans
from service.query.catalog import PublishedRun
from service.query.layers import read_layer
from service.sheets import contact
from workers.core.display import undisplay
from workers.errors import UsageError
from workers.kinds import Kind
from workers.store.facts import LayerFacts as LayerFacts

SHEET_CHANNELS = 24
WALL_PX = 320
_PLAIN = ("rank", "score", "image_index", "image_id", "uri", "label", "y", "x")
_BOX = ("box_top", "box_left", "box_bottom", "box_right")
_PICTURES = ("patch", "projection", "projection_scale")
_SUMMARY = (
    ("channel", pa.int32()),
    ("label", pa.string()),
    *((name, pa.float64()) for name in ("purity", "selectivity", "max", "mean", "std", "active_share")),
    ("dead", pa.bool_()),
)


@dataclass(frozen=True, eq=False)
class Patch:
    """One of a channel's top images: the pixels that the unit sees, and its activation carried down to them.

    Attributes:
        rank: 0 for the largest score.
        score: the channel's largest activation in this image.
        image_index: row number of the image in the corpus manifest.
        image_id: key of the image in its corpus.
        uri: where the image was read from.
        label: label of the image; None if it has none.
        y: row of the unit in the feature map.
        x: column of the unit in the feature map.
        box: top, left, bottom, right of the receptive field, model-input pixels; half-open, may leave the input.
        patch: the receptive field, clipped to the model's input.
        projection: the projection of the same pixels as it is displayed; None if the score is not positive.
        projection_scale: largest absolute value of the projection, model-input scale.
    """

    rank: int
    score: float
    image_index: int
    image_id: str
    uri: str
    label: str | None
    y: int
    x: int
    box: tuple[int, int, int, int]
    patch: Picture
    projection: Picture | None
    projection_scale: float

    def signal(self) -> NDArray[np.float32] | None:
        """The projection as float32 (3, height, width), signed, model-input scale, to within 8 bits; None without one.

        For a network with one or two channels, all three equal the first; with more than three, they are the first three.
        """
        return None if self.projection is None else undisplay(self.projection.pixels(), self.projection_scale)

    def _repr_png_(self) -> bytes:
        return self.patch._repr_png_()


class Channel:
    """One channel of a layer. A notebook shows its projections and patches.

    Attributes:
        number: index of the channel in its layer.
    """

    def __init__(self, layer: "Layer", number: int) -> None:
        self._layer, self.number = layer, number

    def __repr__(self) -> str:
        return f"<deconvoy.Channel {self.number} of {self._layer!r}>"

    @cached_property
    def patches(self) -> tuple[Patch, ...]:
        """The channel's top images, strongest first; read from the root at first use.

        Raises:
            QueryError: the run is not a scan.
            DamagedRun: the run's files are not the ones that its manifest names.
        """
        rows = self.table("patches", [*_PLAIN, *_BOX, *_PICTURES]).sort_by("rank")
        return tuple(map(_patch, rows.to_pylist()))

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of a table about this channel; see `Run.table` for arguments and errors."""
        return self._layer.table(name, columns, pc.field("channel") == self.number)

    def wall(
        self,
        show: Literal["patch", "projection"] = "patch",
        side_px: int = WALL_PX,
        view: Literal["filled", "exact"] = "filled",
    ) -> Picture:
        """Up to nine patches, or projections, in one picture of at most `side_px` pixels; of `evolve`, those of its checkpoints.

        Args:
            show: which.
            side_px: longer side of the picture.
            view: `filled`, where the photo continues a receptive field that leaves the model's input, dimmed, or `exact`, where
                the rest of the field is grey.

        Raises:
            UsageError: `show` or `view` is none of these, or `side_px` is not positive.
            QueryError: the run is neither a scan nor of `evolve`.
            DamagedRun: the run's files are not the ones that its manifest names.
        """
        return self._layer.wall(self.number, show, side_px, view)

    def _repr_png_(self) -> bytes | None:
        return self._layer.sheet([self.number])._repr_png_() if self._layer._has_patches else None


class Layer:
    """One layer of a run. A notebook shows the contact sheet of its first living channels.

    Attributes:
        about: name, index, channels, height, width, receptive field and stride of the layer; whether it is above a gate, and
            why it has no projections.
    """

    def __init__(self, run: PublishedRun, about: LayerFacts, pictures: Pictures) -> None:
        self._run, self.about, self._pictures = run, about, pictures

    def __repr__(self) -> str:
        return f"<deconvoy.Layer {self.name!r} of run {self._run.run!r}, {self.about.channels} channels>"

    @property
    def name(self) -> str:
        """The layer's name in the model's graph."""
        return self.about.name

    @property
    def _has_patches(self) -> bool:
        """Whether its channels have patches: the run is a scan."""
        return self._run.job == Kind.SCAN

    @property
    def channels(self) -> tuple[Channel, ...]:
        """All channels, in order. Reads nothing."""
        return tuple(Channel(self, number) for number in range(self.about.channels))

    def channel(self, number: int) -> Channel:
        """One channel.

        Raises:
            QueryError: the layer has no such channel.
        """
        return Channel(self, self.about.require_channel(number))

    def table(self, name: str, columns: Sequence[str] | None = None, where: pc.Expression | None = None) -> pa.Table:
        """The rows of a table about this layer; see `Run.table` for arguments and errors."""
        in_layer = pc.field("layer_index") == self.about.index
        return read_table(self._run, name, columns, in_layer if where is None else in_layer & where)

    def summary(self) -> pa.Table:
        """One row for each channel, by number, with the values of `deconvoy query units`.

        Columns are `channel`, `label` (the most common label of its top images with a positive score; null if no two share
        a label; if there is only one such image, its label), `purity`, `selectivity`, `max`, `mean`, `std`, `active_share`
        and `dead`; docs/glossary.md explains them.

        Raises:
            QueryError: the run is not a scan.
            DamagedRun: the run's files are not the ones that its manifest names.
        """
        channels = read_layer(self._run, self.name).channels
        return pa.table(
            {name: pa.array([getattr(channel, name) for channel in channels], kind) for name, kind in _SUMMARY}
        )

    def sheet(self, channels: Sequence[int] | None = None) -> Picture:
        """The contact sheet of some channels, projections beside patches; by default the first 24 channels that are not dead.

        Raises:
            QueryError: the run is not a scan, the layer has no such channel, or the sheet would be too large.
            DamagedRun: the run's files are not the ones that its manifest names.
        """
        wanted = scans.living(self._run, self.name, SHEET_CHANNELS) if channels is None else channels
        return encode_png(contact.sheet(self._run, self.name, wanted))

    def wall(
        self,
        channel: int,
        show: Literal["patch", "projection"],
        side_px: int = WALL_PX,
        view: Literal["filled", "exact"] = "filled",
    ) -> Picture:
        """A channel's small picture; see `Channel.wall`."""
        _require("show", show, ("patch", "projection"))
        _require("view", view, ("filled", "exact"))
        if side_px < 1:
            raise UsageError(f"side_px is {side_px}; it must be at least 1")
        picture = self._pictures.channels.drawn_wall(self._run, self.name, channel, show, side_px, view)
        return Picture(picture.data, picture.media)

    def _repr_png_(self) -> bytes | None:
        return self.sheet()._repr_png_() if self._has_patches else None


def _require(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{name} is {value!r}; it must be {' or '.join(map(repr, allowed))}")


def _patch(row: dict[str, Any]) -> Patch:
    patch, projection = (_stored(row[name]) for name in ("patch", "projection"))
    assert patch is not None  # noqa: S101 - the schema's patches are never null
    box = row["box_top"], row["box_left"], row["box_bottom"], row["box_right"]
    plain = {name: row[name] for name in _PLAIN}
    return Patch(**plain, box=box, patch=patch, projection=projection, projection_scale=row["projection_scale"])


def _stored(value: dict[str, Any] | None) -> Picture | None:
    if not value or not value["bytes"]:
        return None
    data = value["bytes"]
    return Picture(data, next(media for media, magic in SHOWN_AS.items() if magic.match(data)))
