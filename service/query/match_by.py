"""How channels of two scans are matched and sorted, as options and pages name it. Light, so that the command starts fast."""

from enum import StrEnum


class MatchBy(StrEnum):
    """Which channel of the second scan a channel of the first is compared with."""

    NUMBER = "number"
    OVERLAP = "overlap"


class SortBy(StrEnum):
    """What the compared channels of a layer are sorted by."""

    CHANNEL = "channel"
    OVERLAP = "overlap"
    RANK_CORRELATION = "rank_correlation"
