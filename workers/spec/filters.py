"""The spec of a diagnosis of first-layer filters. Takes nested values, gives frozen ones."""

from pydantic import Field

from workers.spec.parts import AnyRun, ModelSpec, RunId


class FiltersRun(AnyRun):
    """A diagnosis of the first convolutions of some networks, without a corpus."""

    run: RunId | None = Field(None, description="run id; by default made from the time")
    models: tuple[ModelSpec, ...] = Field(min_length=1, description="networks to compare")


SPEC = FiltersRun
