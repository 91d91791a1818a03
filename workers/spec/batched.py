"""Specs with a batch size that may be auto. Takes a device, gives the batch size; halves it when memory has run out."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from workers.spec.parts import NetworkSpec


class Batched(NetworkSpec):
    """A spec one of whose tables has a key `batch`: a number of items, or auto.

    Attributes:
        SECTION: name of that table.
        BATCH: batch size that auto stands for, by device.
    """

    SECTION: ClassVar[str]
    BATCH: ClassVar[Mapping[str, int]]

    def resolved(self, device: str) -> Self:
        """The spec with the actual device and batch size."""
        batch = self._section.batch
        return super().resolved(device)._with_batch(self.BATCH[device] if batch == "auto" else batch)

    @property
    def batch_size(self) -> int:
        """Largest number of items in a batch. The spec must be resolved."""
        return int(self._section.batch)

    def with_smaller_batch(self) -> Self | None:
        """The spec with half the batch size; None if it is 1."""
        smaller = self.batch_size // 2
        return self._with_batch(smaller) if smaller else None

    @property
    def _section(self) -> Any:  # noqa: ANN401 - each kind has its own class of section
        return getattr(self, self.SECTION)

    def _with_batch(self, batch: int) -> Self:
        return self.model_copy(update={self.SECTION: self._section.model_copy(update={"batch": batch})})
