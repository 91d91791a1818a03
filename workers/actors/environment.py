"""The software and the device of one node. A module of its own, because the driver and idle actors need it without torch."""

from dataclasses import asdict, dataclass

EAGER = "eager"


@dataclass(frozen=True)
class Environment:
    """The software and the device that compute the numbers, and the node that they were found on."""

    deconvoy: str
    python: str
    torch: str
    torchvision: str
    decoder: str
    device: str
    node: str
    engine: str = EAGER

    def comparable(self) -> dict[str, str]:
        """The fields that must be equal on all nodes of a run."""
        return {key: value for key, value in asdict(self).items() if key != "node"}

    def numerics(self) -> dict[str, str]:
        """These fields as they are recorded, without the engine if it is eager, as in older runs."""
        return {key: value for key, value in self.comparable().items() if (key, value) != ("engine", EAGER)}
