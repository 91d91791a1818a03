"""What a diagnosis of first-layer filters is asked to do."""

from pydantic import Field

from workers.spec.parts import AnyRun, ModelSpec, RunId


class FiltersRun(AnyRun):
    """The first convolutions of some networks; there is no corpus."""

    run: RunId | None = Field(None, description="run id; by default made from the time")
    models: tuple[ModelSpec, ...] = Field(min_length=1, description="networks to compare")


SPEC = FiltersRun
