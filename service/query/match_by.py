"""How channels of two scans are matched: its values, which options and pages name. Light, so that the command starts fast."""

from enum import StrEnum


class MatchBy(StrEnum):
    """Which channel of the second scan a channel of the first is compared with."""

    NUMBER = "number"
    OVERLAP = "overlap"
