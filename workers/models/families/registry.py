"""The registry of model families. Takes the name of a scheme, gives its family."""

from workers.models.families.deconvoy import Deconvoy
from workers.models.families.family import Family
from workers.models.families.hub import Hub
from workers.models.families.timm import Timm
from workers.models.families.torchvision import Torchvision

FAMILIES: tuple[Family, ...] = (  # a family's scheme is a line in workers/spec/families.py
    Deconvoy(),
    Torchvision(),
    Timm(),
    Hub(),
)


def family_of(scheme: str) -> Family:
    """The family with a scheme."""
    return next(family for family in FAMILIES if family.scheme.name == scheme)
