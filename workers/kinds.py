"""The kinds of job. Takes nothing, gives their names; each layer has one registry with a record per kind."""

from enum import StrEnum


class Kind(StrEnum):
    """The kind of a job.

    The value is the name of the command, the `job` of a submission, and the kind recorded in the table `runs` and in manifests.
    """

    SCAN = "scan"
    OCCLUDE = "occlude"
    INVERT = "invert"
    FILTERS = "filters"
    EVOLVE = "evolve"
    INVARIANCE = "invariance"
    CORRESPONDENCE = "correspondence"
    SANITY = "sanity"
    SYNTHESISE = "synthesise"
    CONCEPTS = "concepts"

    def __repr__(self) -> str:
        return repr(self.value)
