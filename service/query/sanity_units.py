"""Units of the randomisation check. Takes rows of `sanity`, gives each unit's rows by method and stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.query.findings import Finding
from service.query.sanity import METHODS, unit_of


@dataclass(frozen=True, eq=False)
class CheckedUnit:
    """The rows of one unit: of the trained network and of the first random network, with cascading weights if there are any.

    Attributes:
        first: the values of the unit's first row.
        stages: names of the stages.
        lines: by method, the row of the trained network, then one per stage, or None where there is none.
        every: all rows of the unit.
    """

    first: Mapping[str, Any]
    stages: tuple[str, ...]
    lines: Mapping[str, tuple[Finding | None, ...]]
    every: tuple[Finding, ...]

    @property
    def patch(self) -> Finding | None:
        """The row with the unit's patch."""
        return next((row for row in self.every if "patch" in row.pictures), None)

    @property
    def cascade(self) -> bool:
        """Whether the weights of `lines` are cascading, rather than independent."""
        return any(row.values["mode"] == "cascading" for row in self.every)

    @property
    def title(self) -> str:
        """The unit in words."""
        return f"{self.first['layer']}, channel {self.first['channel']}, rank {self.first['rank']}: {self.first['image_id']}"


def units(rows: Sequence[Finding]) -> list[CheckedUnit]:
    """The units of a run, by layer, channel and rank."""
    groups: dict[tuple[int, int, int], list[Finding]] = {}
    for row in rows:
        groups.setdefault(unit_of(row.values), []).append(row)
    return [_unit(groups[key]) for key in sorted(groups)]


def spread(rows: Sequence[Finding], most: int) -> list[CheckedUnit]:
    """At most `most` units, the same number of each layer, upper layers first."""
    layers: dict[int, list[CheckedUnit]] = {}
    for unit in units(rows):
        layers.setdefault(unit.first["layer_index"], []).append(unit)
    per_layer = max(1, most // len(layers))
    return [unit for index in sorted(layers, reverse=True) for unit in layers[index][:per_layer]][:most]


def alike(values: Mapping[str, Any]) -> str:
    """The caption of a projection: its similarity to the trained network's projection, or its status.

    Empty if the two cannot be compared, because the trained network's is blank or all values of one are equal.
    """
    if values["status"] != "ok":
        return str(values["status"])
    rank, ssim = values["rank_correlation"], values["ssim"]
    if rank is None and ssim is None:
        return ""
    return ("none" if rank is None else f"{rank:.2f}") + ("" if ssim is None else f" · {ssim:.2f}")


def _unit(rows: Sequence[Finding]) -> CheckedUnit:
    names = dict(sorted((row.values["stage"], row.values["stage_node"]) for row in rows if row.values["stage"]))
    seed = min((row.values["seed"] for row in rows if row.values["seed"] is not None), default=None)
    mode = min((row.values["mode"] for row in rows if row.values["stage"]), default=None)
    shown = {
        (row.values["method"], row.values["stage"]): row
        for row in rows
        if row.values["mode"] == "trained" or (row.values["mode"] == mode and row.values["seed"] == seed)
    }
    lines = {method: tuple(shown.get((method, stage)) for stage in (0, *names)) for method in METHODS}
    return CheckedUnit(rows[0].values, tuple(names.values()), lines, tuple(rows))
