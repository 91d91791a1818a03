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
    encoder: str = ""  # the package that runs an image-text model

    def comparable(self) -> dict[str, str]:
        """The fields that must be equal on all nodes of a run."""
        return {key: value for key, value in asdict(self).items() if key != "node"}

    def numerics(self) -> dict[str, str]:
        """These fields as they are recorded, without those of older runs' defaults: an eager engine, and no encoder."""
        defaults = {"engine": EAGER, "encoder": ""}
        return {key: value for key, value in self.comparable().items() if value != defaults.get(key)}
