"""The parts of a published run's manifest, as frozen values. Takes nested values, gives them by name."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from workers.errors import QueryError
from workers.spec.parts import Fit, Pair, PerChannel


class Facts(BaseModel):
    """A frozen part of a manifest. Unknown keys are ignored: a newer version may have written them."""

    model_config = ConfigDict(frozen=True, extra="ignore")


@dataclass(frozen=True)
class PartFile:
    """One Parquet file of a table: path under the root, number of rows, size in bytes, and SHA-256."""

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class LayerFacts:
    """A layer of a run: size of its feature map, and the receptive field of its units in model-input pixels.

    Channels of a concatenation can have different fields: `field_height` and `field_width` are those of the field around all of
    them, `least_field_height` and `least_field_width` the smallest of one channel; None where all channels have the same
    field, and in runs of earlier versions. `gated`: a factor computed from the image is held constant in its projections.
    `obstacle`: why it has no projections; empty if it has. Both are None in runs of earlier versions.
    """

    index: int
    name: str
    channels: int
    height: int
    width: int
    field_height: int
    field_width: int
    stride_y: int | float | None
    stride_x: int | float | None
    gated: bool | None = None
    obstacle: str | None = None
    least_field_height: int | None = None
    least_field_width: int | None = None

    def require_channel(self, channel: int) -> int:
        """Check a channel's number and return it.

        Raises:
            QueryError: the layer has no such channel.
        """
        if not 0 <= channel < self.channels:
            raise QueryError(f"no channel {channel} in layer {self.name!r}; it has 0 to {self.channels - 1}")
        return channel


class PreprocessingFacts(Facts):
    """How the model prepares images; see `workers.core.preprocess`."""

    resize: int | Pair
    crop: int | Pair
    mean: PerChannel
    std: PerChannel
    interpolation: str
    fit: str = Fit.STRETCH
    pad: int | str = "mean"
    bits: int = 8


class ModelFacts(Facts):
    """The network: its source, and the hash of its graph and weights. For several models, each value is joined by spaces."""

    source: str
    fingerprint: str
    preprocessing: PreprocessingFacts | None = None
    class_names: tuple[str, ...] = ()
    class_words: tuple[str, ...] = ()  # for each class, more words that find it, separated by commas
    notes: tuple[str, ...] = ()  # what was changed in the keys of the weights


def content_of(files: Iterable[PartFile]) -> str:
    """A hash of the contents of some files of a table."""
    return hashlib.sha256(" ".join(part.sha256 for part in files).encode()).hexdigest()[:32]


class EncoderFacts(Facts):
    """An image-text model: its source, the hash of its files, and their names in `encoders/FINGERPRINT` under the root."""

    source: str
    fingerprint: str
    files: tuple[str, ...]


class CorpusFacts(Facts):
    """The images: their source, the path of the corpus manifest, and the SHA-256 of that file."""

    source: str
    manifest: str | None = None
    sha256: str | None = None


class Totals(Facts):
    """Counts of the images that were listed, used and rejected, and of the layers and channels."""

    listed: int
    images: int
    rejects: int
    rejects_by_reason: dict[str, int]
    passed_over: dict[str, int] = {}
    layers: int
    channels: int


class CheckpointFacts(Facts):
    """A checkpoint of the training that the run followed."""

    name: str
    source: str
    fingerprint: str


class DivergedFacts(Facts):
    """A checkpoint that was left out because its weights have diverged."""

    name: str
    file: str


class PrecisionFacts(Facts):
    """What half precision costs: among `images`, `differing` of `sets` channels have different best images than in float32.

    `sets` is 0 if too few images could be compared. `tolerances`: by layer, how much the two passes of the scan may differ.
    """

    images: int
    sets: int
    differing: int
    tolerances: dict[str, float]

    @property
    def share(self) -> float | None:
        """The share of channels that differ; None if none were compared."""
        return self.differing / self.sets if self.sets else None
