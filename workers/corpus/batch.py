"""What reading gives: batches of images ready for the model, and rejects. Values only."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.errors import Reason


@dataclass(frozen=True)
class ImageRecord:
    """The properties of an image that was read."""

    image_index: int
    width: int
    height: int
    bytes: int
    sha256: str
    decoder: str
    group: str | None


@dataclass(frozen=True)
class Reject:
    """An image that could not be used, and why."""

    image_index: int
    bytes: int
    reason: Reason
    detail: str


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """One image, ready for the model.

    Attributes:
        record: its properties.
        preview: a small encoded copy; None if not requested.
        prepared: (channels, height, width), the model's input before normalisation; see `Preprocessing.prepare`.
    """

    record: ImageRecord
    preview: bytes | None
    prepared: Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """The images of one batch of the grid.

    Attributes:
        pictures: images that can be used, in order; may be empty.
        rejects: images that cannot be used, in order.
        stacked: (n, channels, height, width), what the pictures are views of; None if each has its own memory.
    """

    pictures: tuple[PreparedImage, ...]
    rejects: tuple[Reject, ...]
    stacked: Tensor | None = None

    @property
    def records(self) -> tuple[ImageRecord, ...]:
        """The properties of the pictures."""
        return tuple(picture.record for picture in self.pictures)

    def pixels(self) -> Tensor:
        """(n, channels, height, width); there must be at least one image."""
        return torch.stack([picture.prepared for picture in self.pictures]) if self.stacked is None else self.stacked
