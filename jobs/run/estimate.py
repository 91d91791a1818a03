"""What a scan will write, before it runs. Takes layers and a spec, gives bytes, and a change that reduces them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, exp
from types import MappingProxyType

from jobs.run.merging import WIDTH
from workers.core.network import Layer
from workers.core.receptive_field import Field
from workers.core.steps import Pair
from workers.spec.scan import RunSpec

LARGE_BYTES = 2 * 10**9
NAMED = 3  # layers in a warning
LEAST_GAIN = 0.9  # a way that leaves a larger share is not worth naming

# Measured on 1,000 Caltech photos with zfnet-mini: lossless projection and WebP patch, per pixel of a receptive field.
PROJECTION_BYTES_PER_PIXEL = 1.2
PATCH_BYTES_PER_PIXEL = 0.25
PICTURE_BYTES = 60  # of any picture, in addition to its pixels
PREVIEW_BYTES = 11_000
ROW_BYTES = 40  # of a row of `top` and of `patches`, without pictures
UNIT_BYTES = 320  # of a row of `units`, most of it its histogram
IMAGE_BYTES = 50  # of a row of `images`
# Of a shard's result: statistics of a channel, each of its rows, and an image.
CHANNEL_BYTES, TOP_BYTES, SCANNED_BYTES = 240, 8, 45


@dataclass(frozen=True)
class Tables:
    """The tables of a scan that is planned.

    Attributes:
        layers: the selected layers.
        spec: the spec.
        images: number of images in the corpus.
        input: height and width of the model's input, pixels.
        picture_bytes: measured mean size of the pictures of a row, by layer index; layers without one are estimated.
        preview_bytes: mean size of a preview.
    """

    layers: tuple[Layer, ...]
    spec: RunSpec
    images: int
    input: Pair
    picture_bytes: Mapping[int, float] = field(default_factory=lambda: MappingProxyType({}))
    preview_bytes: float = PREVIEW_BYTES

    @property
    def bytes(self) -> int:
        """The estimated size of all tables."""
        return self._size(self.layers, self.spec.scan.k)

    @property
    def rows(self) -> int:
        """The number of rows of `top` and `patches`, if no channel has too few images."""
        return min(self.spec.scan.k, self.images) * self._channels

    @property
    def top_images(self) -> int:
        """About how many different images these rows have."""
        return _different(self.rows, self.images)

    @property
    def projected_bytes(self) -> int:
        """The estimated size of the results of the second pass, which hold all pictures, as the tables do."""
        return int(self._picture_bytes(self.layers, self.spec.scan.k))

    def scanned_bytes(self, shards: int, images: int) -> int:
        """The estimated size of the results of the first pass.

        Args:
            shards: number of shards without a result.
            images: number of images in them.
        """
        if not shards:
            return 0
        k, merges, level = self.spec.scan.k, 0, self.images / self.spec.shard_size
        while level > 1:
            level = ceil(level / WIDTH)
            merges += level
        in_shard = CHANNEL_BYTES + TOP_BYTES * min(k, images / shards)
        in_merge = CHANNEL_BYTES + TOP_BYTES * min(k, self.images)
        of_images = images * SCANNED_BYTES + self.images * IMAGE_BYTES
        return int(self._channels * (shards * in_shard + merges * in_merge) + of_images)

    @property
    def _channels(self) -> int:
        return sum(layer.channels for layer in self.layers)

    @property
    def warning(self) -> str:
        """The size, and the change that loses the fewest patches, if the tables take more than LARGE_BYTES; else empty."""
        if self.bytes <= LARGE_BYTES:
            return ""
        ways = (self._fewer_images(), self._fewer_layers())
        best = min(ways, key=lambda way: (way.bytes > LARGE_BYTES, way.lost_share, way.bytes))
        line = f"the tables will take about {_gigabytes(self.bytes)}"
        if best.bytes > LEAST_GAIN * self.bytes:
            return line
        return f"{line}; {best.text} would reduce this to {_gigabytes(best.bytes)}"

    def _fewer_images(self) -> "_Way":
        """The largest k with which the tables are small enough, else 1."""
        largest = min(self.spec.scan.k, self.images)
        k = next((k for k in range(largest - 1, 1, -1) if self._size(self.layers, k) <= LARGE_BYTES), 1)
        return _Way(f"--k {k}", self._size(self.layers, k), 1 - k / largest)

    def _fewer_layers(self) -> "_Way":
        """The layers without the largest ones, as many as necessary; at least one layer is left."""
        k = self.spec.scan.k
        kept = sorted(self.layers, key=lambda layer: self._size((layer,), k))
        left_out: list[str] = []
        while len(kept) > 1 and self._size(kept, k) > LARGE_BYTES:
            left_out.append(kept.pop().name)
        lost = 1 - sum(layer.channels for layer in kept) / sum(layer.channels for layer in self.layers)
        return _Way(f"leaving {_name_some(left_out)} out of --layers", self._size(kept, k), lost if left_out else 1.0)

    def _size(self, layers: Sequence[Layer], k: int) -> int:
        """The size of all tables."""
        rows = min(k, self.images)
        units = sum(layer.channels for layer in layers)
        of_units = units * (UNIT_BYTES + rows * 2 * ROW_BYTES)
        return int(of_units + self._picture_bytes(layers, k) + self.images * IMAGE_BYTES)

    def _picture_bytes(self, layers: Sequence[Layer], k: int) -> float:
        """The size of all pictures, previews included."""
        rows = min(k, self.images)
        pictures = rows * sum(layer.channels * self._pictures(layer) for layer in layers)
        units = sum(layer.channels for layer in layers)
        previews = _different(rows * units, self.images) * self.preview_bytes if self.spec.project.previews else 0
        return pictures + previews

    def _pixels(self, field: Field) -> int:
        """The pixels of the largest picture of a field: of one that lies inside the input, or of the input."""
        return min(field.height, self.input[0]) * min(field.width, self.input[1])

    def _pictures(self, layer: Layer) -> float:
        """The size of the pictures of one row of a layer."""
        if layer.index in self.picture_bytes:
            return self.picture_bytes[layer.index]
        pixels = sum(self._pixels(layer.fields.of(channel)) for channel in range(layer.channels)) / layer.channels
        patch = PICTURE_BYTES + pixels * PATCH_BYTES_PER_PIXEL
        has_projections = self.spec.project.projection is not None
        return patch + (PICTURE_BYTES + pixels * PROJECTION_BYTES_PER_PIXEL if has_projections else 0)


@dataclass(frozen=True)
class _Way:
    """A way to smaller tables: the flags, the size that is left, and the share of patches that is lost."""

    text: str
    bytes: int
    lost_share: float


def _different(rows: int, images: int) -> int:
    """About how many different images some rows have, if each row has any image with the same probability."""
    return round(images * (1 - exp(-rows / images)))


def _name_some(names: Sequence[str]) -> str:
    """The first names, and the number of the others."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
