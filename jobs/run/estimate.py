"""The size of a scan's tables before it runs. Takes layers and a spec, gives bytes, and a change that reduces them."""

from collections.abc import Sequence
from dataclasses import dataclass

from workers.core.network import Layer
from workers.core.steps import Pair
from workers.spec.scan import RunSpec

LARGE_BYTES = 2 * 10**9
NAMED = 3  # layers in a warning

# Measured on 1,000 Caltech photos with zfnet-mini: lossless projection and WebP patch, per pixel of a receptive field.
PROJECTION_BYTES_PER_PIXEL = 1.2
PATCH_BYTES_PER_PIXEL = 0.25
PICTURE_BYTES = 60  # of any picture, in addition to its pixels
PREVIEW_BYTES = 11_000
ROW_BYTES = 40  # of a row of `top` and of `patches`, without pictures
UNIT_BYTES = 600  # of a row of `units`, most of it its histogram


@dataclass(frozen=True)
class Tables:
    """The tables of a scan that is planned.

    Attributes:
        layers: the selected layers.
        spec: the spec.
        images: number of images in the corpus.
        input: height and width of the model's input, pixels.
    """

    layers: tuple[Layer, ...]
    spec: RunSpec
    images: int
    input: Pair

    @property
    def bytes(self) -> int:
        """The estimated size of all tables, without `images` and `rejects`."""
        return self._size(self.layers, self.spec.scan.k)

    @property
    def warning(self) -> str:
        """The size, and the change that loses the fewest patches, if the tables take more than LARGE_BYTES; else empty."""
        if self.bytes <= LARGE_BYTES:
            return ""
        ways = (self._fewer_images(), self._fewer_layers())
        best = min(ways, key=lambda way: (way.bytes > LARGE_BYTES, way.lost_share, way.bytes))
        return f"the tables will take about {_gigabytes(self.bytes)}; {best.text} would reduce this to {_gigabytes(best.bytes)}"

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
        rows = min(k, self.images)
        units = sum(layer.channels for layer in layers)
        pictures = rows * sum(layer.channels * self._pictures(layer) for layer in layers)
        previews = min(self.images, rows * units) * PREVIEW_BYTES if self.spec.project.previews else 0
        return int(units * (UNIT_BYTES + rows * 2 * ROW_BYTES) + pictures + previews)

    def _pictures(self, layer: Layer) -> float:
        """The size of the pictures of one unit of a layer."""
        pixels = min(layer.field.height, self.input[0]) * min(layer.field.width, self.input[1])
        patch = PICTURE_BYTES + pixels * PATCH_BYTES_PER_PIXEL
        has_projections = self.spec.project.projection is not None
        return patch + (PICTURE_BYTES + pixels * PROJECTION_BYTES_PER_PIXEL if has_projections else 0)


@dataclass(frozen=True)
class _Way:
    """A way to smaller tables: the flags, the size that is left, and the share of patches that is lost."""

    text: str
    bytes: int
    lost_share: float


def _name_some(names: Sequence[str]) -> str:
    """The first names, and the number of the others."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
