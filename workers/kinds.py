"""The kinds of job. Takes nothing, gives their names; each layer has one registry of what it knows about each kind."""

from enum import StrEnum


class Kind(StrEnum):
    """What a run does. The value is the command, the spec's `job`, and the word in the tables `runs` and manifest.json."""

    SCAN = "scan"
    OCCLUDE = "occlude"
    INVERT = "invert"
    FILTERS = "filters"
    EVOLVE = "evolve"
    INVARIANCE = "invariance"
    CORRESPONDENCE = "correspondence"
    SANITY = "sanity"

    def __repr__(self) -> str:
        return repr(self.value)
