"""A published run as a value: its manifest.json. Takes bytes, gives a frozen Manifest; takes a Manifest, gives its bytes."""

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from workers.errors import DamagedRun
from workers.kinds import Kind
from workers.spec.concepts import ConceptsSpec
from workers.spec.decoding import DecodeSpec
from workers.spec.evolve import EvolveSpec
from workers.spec.frozen import Frozen
from workers.spec.parts import ResourcesSpec
from workers.spec.plain import PlainSpec
from workers.spec.sanity import SanitySpec
from workers.spec.scan import ProjectSpec, ScanSpec
from workers.store.facts import (
    CheckpointFacts,
    CorpusFacts,
    DivergedFacts,
    EncoderFacts,
    Facts,
    LayerFacts,
    ModelFacts,
    PartFile,
    PrecisionFacts,
    Totals,
)
from workers.store.json_format import JsonFormat, parse

VERSION = 1


def _known_keys(kind: type[Frozen]) -> BeforeValidator:
    """Ignore unknown keys in a section of a spec: a newer version may have written them."""

    def known(section: object) -> object:
        if not isinstance(section, Mapping):
            return section
        return {key: value for key, value in section.items() if key in kind.model_fields}

    return BeforeValidator(known)


class SpecSections(Facts):
    """The sections of a run's spec that readers use, as values; None if the kind of job has no such section."""

    decode: Annotated[DecodeSpec, _known_keys(DecodeSpec)] = DecodeSpec()
    resources: Annotated[ResourcesSpec, _known_keys(ResourcesSpec)] = ResourcesSpec()
    scan: Annotated[ScanSpec, _known_keys(ScanSpec)] | None = None
    project: Annotated[ProjectSpec, _known_keys(ProjectSpec)] | None = None
    evolve: Annotated[EvolveSpec, _known_keys(EvolveSpec)] | None = None
    sanity: Annotated[SanitySpec, _known_keys(SanitySpec)] | None = None
    concepts: Annotated[ConceptsSpec, _known_keys(ConceptsSpec)] | None = None


_SECTIONS = JsonFormat(SpecSections)


class RunFacts(Facts):
    """The facts of a published run.

    Attributes:
        job: kind of job.
        created: when the run was published, UTC, ISO 8601.
        spec: the whole spec; readers use its `sections`.
        identity: the part of the spec that the run id is pinned to, as plain values.
        model: the network.
        corpus: the images; None for a job without images.
        totals: counts.
        layers: the layers, in the order of the graph.
        input: shape of the model's input, (channels, height, width); None for several models.
        versions: versions of the software, and the device.
        backends: torch's settings.
        seconds: duration of the attempt that published the run.
        images_per_s: images that this attempt used per second; None if it used none.
        shards, merges, groups: paths of the results of shards, of those derived from them, and of projection groups.
        reduced_batch: the smaller batch that the run used after memory ran out.
        checkpoints, diverged: checkpoints of a training, in the order of the numbers in `evolution`, and those left out.
        precision: what half precision costs; None in float32.
        depth: the depth that was chosen for 16-bit images; None if there was nothing to choose.
        encoder: the image-text model that embedded the channels; None for other kinds of job.
        patches: hash of the patches that it embedded: another scan may be published under the same id later.
    """

    job: Kind
    created: str
    spec: PlainSpec
    identity: Any = None
    model: ModelFacts
    corpus: CorpusFacts | None
    totals: Totals
    layers: tuple[LayerFacts, ...] = ()
    input: tuple[int, int, int] | None = None
    versions: dict[str, str]
    backends: dict[str, Any] = Field(default_factory=dict)
    seconds: float
    images_per_s: float | None
    shards: tuple[str, ...] = ()
    merges: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    reduced_batch: int | None = None
    checkpoints: tuple[CheckpointFacts, ...] = ()
    diverged: tuple[DivergedFacts, ...] = ()
    precision: PrecisionFacts | None = None
    depth: str | None = None
    encoder: EncoderFacts | None = None
    patches: str = ""

    @cached_property
    def sections(self) -> SpecSections:
        """The spec's sections as values."""
        return _SECTIONS.make(self.spec.values)

    @field_validator("created")
    @classmethod
    def _is_a_time(cls, created: str) -> str:
        datetime.fromisoformat(created)
        return created

    @model_validator(mode="after")
    def _read_spec(self) -> Self:
        """Parse the spec together with the manifest, so that a damaged one is found at once."""
        try:
            _ = self.sections
        except ValueError as error:
            raise ValueError(f"spec.{error}") from error
        return self


class Manifest(RunFacts):
    """A manifest.json.

    Attributes:
        version: version of the format. Within a version, keys are only added.
        run: run id.
        tables: files by table.
        schemas: version of each table's schema.
    """

    version: int
    run: str
    tables: dict[str, tuple[PartFile, ...]] = Field(min_length=1)
    schemas: dict[str, str] = Field(default_factory=dict)

    @property
    def listing(self) -> str | None:
        """Path of the corpus manifest; None for a job without images."""
        return self.corpus.manifest if self.corpus else None

    @property
    def parts(self) -> tuple[PartFile, ...]:
        """The files of all tables."""
        return tuple(part for files in self.tables.values() for part in files)

    @property
    def results(self) -> tuple[str, ...]:
        """The results of the run's shards, merges and groups, as paths under the root."""
        return (*self.shards, *self.merges, *self.groups)


_FORMAT = JsonFormat(Manifest)


def encode(manifest: Manifest) -> bytes:
    """The bytes of a manifest.json."""
    return _FORMAT.encode(manifest)


def decode(data: bytes, run: str) -> Manifest:
    """The manifest in the bytes of a manifest.json.

    Raises:
        ValueError: they are not a manifest of this run; the message has one line.
        DamagedRun: the manifest has another version.
    """
    try:
        plain: Any = parse(data)
        version, owner = plain["version"], plain.get("run")
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"it cannot be read: {_describe(error)}") from error
    if version != VERSION:
        readable = f"this Deconvoy reads version {VERSION}; use the version of Deconvoy that published the run"
        raise DamagedRun(f"run {run!r}: its manifest.json has version {version!r}; {readable}")
    if owner != run:
        raise ValueError(f"it belongs to run {owner!r}")
    return _FORMAT.make(plain)


def _describe(error: Exception) -> str:
    return f"missing key {error}" if isinstance(error, KeyError) else str(error)
