"""The spec of an embedding of channels by an image-text model. Takes nested values, gives frozen ones."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from workers.spec import families
from workers.spec.batched import Batched
from workers.spec.families import HUB, STORED
from workers.spec.frozen import Frozen
from workers.spec.parts import ModelSpec, RunId, Word
from workers.spec.precision import require_float32

OF_SCAN = ModelSpec(source=STORED.source(f"scan@{'0' * 32}"))  # stands for the network of the scan


def _check_encoder(source: str) -> str:
    """The source of an image-text model, after its form is checked."""
    if not HUB.accepts(source) or "?" in source:
        raise ValueError(f"image-text model {source!r} must be {HUB.rule}")
    families.scheme_of(source)
    return source


class ConceptsSpec(Frozen):
    """Which channels of a scan are embedded, and by which image-text model."""

    from_run: RunId = Field(description="published scan under the same root whose channels are embedded")
    encoder: Annotated[Word, AfterValidator(_check_encoder)] = Field(
        description="image-text model, such as CLIP, that transformers or open_clip can load: "
        f"{HUB.form} or {HUB.source('FOLDER')}"
    )
    layers: tuple[Word, ...] = Field((), description="layer names or globs; by default all layers of the scan")
    patches: int = Field(9, ge=1, le=1000, description="number of top patches of each channel that are embedded")
    seed: int = Field(0, ge=0, le=2**31, description="random seed for the channel maps")
    batch: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = Field(
        "auto", description="number of channels that are embedded together; auto is 16 on a CPU and 256 on a GPU"
    )


class ConceptsRun(Batched):
    """Embeddings of a scan's channels, without a corpus. The network is always that of the scan."""

    SECTION = "concepts"
    BATCH: ClassVar = {"cpu": 16, "cuda": 256}

    model: ModelSpec = Field(OF_SCAN, description="not given: the network is that of the scan")
    concepts: ConceptsSpec

    @model_validator(mode="after")
    def _require_model_of_scan(self) -> Self:
        if not STORED.accepts(self.model.source):
            raise ValueError("model: concepts uses the network of its scan; remove the table")
        return self

    @model_validator(mode="after")
    def _require_float32(self) -> Self:
        """Only a scan has another precision."""
        return require_float32(self, "concepts")


SPEC = ConceptsRun
