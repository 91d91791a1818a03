"""Counts of a run's images. Takes the numbers of its parts, gives their sums, or the error of a run that used no image."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workers.actors.account import SHOWN
from workers.errors import RunStopped


@dataclass(frozen=True)
class ImageCounts:
    """How many images a run scanned and rejected.

    Attributes:
        images: number of images scanned.
        rejects: number of images rejected, by reason.
    """

    images: int
    rejects: dict[str, int]

    @property
    def listed(self) -> int:
        """Number of images listed: scanned and rejected."""
        return self.images + sum(self.rejects.values())


@dataclass
class Tally:
    """Counts images and rejects.

    Attributes:
        scanned: number of images scanned.
        reasons: number of rejects by reason.
        examples: the first rejects, each in one line.
    """

    scanned: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, scanned: int, reasons: Mapping[str, int], first: Sequence[str]) -> None:
        """Add images, rejects by reason, and the first of the rejects."""
        self.scanned += scanned
        self.reasons.update(reasons)
        self.examples += first[: SHOWN - len(self.examples)]

    def counts(self) -> ImageCounts:
        """The counts.

        Raises:
            RunStopped: every image was rejected.
        """
        if not self.scanned:
            reasons = ", ".join(f"{number:,} {reason}" for reason, number in sorted(self.reasons.items()))
            count = self.reasons.total()
            which = "the only image could not" if count == 1 else f"none of the {count:,} images could"
            raise RunStopped(f"{which} be used ({reasons}); for example, {'; '.join(self.examples)}")
        return ImageCounts(self.scanned, dict(sorted(self.reasons.items())))
