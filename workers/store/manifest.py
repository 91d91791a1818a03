"""A published run as a value: its manifest.json. Takes bytes, gives a frozen Manifest; takes a Manifest, gives its bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from workers.errors import DamagedRun, QueryError
from workers.kinds import Kind
from workers.spec.decoding import DecodeSpec
from workers.spec.evolve import EvolveSpec
from workers.spec.frozen import Frozen
from workers.spec.parts import Fit, Pair, PerChannel, ResourcesSpec
from workers.spec.plain import PlainSpec
from workers.spec.sanity import SanitySpec
from workers.spec.scan import ProjectSpec, ScanSpec
from workers.store.json_format import JsonFormat, parse

VERSION = 1


class _Facts(BaseModel):
    """A frozen part of a manifest. Unknown keys are ignored: a newer version may have written them."""

    model_config = ConfigDict(frozen=True, extra="ignore")


@dataclass(frozen=True)
class PartFile:
    """One Parquet file of a table: path under the root, number of rows, size in bytes, and SHA-256."""

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class LayerFacts:
    """A layer of a run: size of its feature map, and the receptive field of its units in model-input pixels.

    `gated`: a factor computed from the image is held constant in its projections. `obstacle`: why it has no
    projections; empty if it has. Both are None in runs of earlier versions.
    """

    index: int
    name: str
    channels: int
    height: int
    width: int
    field_height: int
    field_width: int
    stride_y: int | float | None
    stride_x: int | float | None
    gated: bool | None = None
    obstacle: str | None = None

    def require_channel(self, channel: int) -> int:
        """Check a channel's number and return it.

        Raises:
            QueryError: the layer has no such channel.
        """
        if not 0 <= channel < self.channels:
            raise QueryError(f"no channel {channel} in layer {self.name!r}; it has 0 to {self.channels - 1}")
        return channel


class PreprocessingFacts(_Facts):
    """How the model prepares images; see `workers.core.preprocess`."""

    resize: int | Pair
    crop: int | Pair
    mean: PerChannel
    std: PerChannel
    interpolation: str
    fit: str = Fit.STRETCH
    pad: int | str = "mean"
    bits: int = 8


class ModelFacts(_Facts):
    """The network: its source, and the hash of its graph and weights. For several models, each value is joined by spaces."""

    source: str
    fingerprint: str
    preprocessing: PreprocessingFacts | None = None
    class_names: tuple[str, ...] = ()
    class_words: tuple[str, ...] = ()  # for each class, more words that find it, separated by commas
    notes: tuple[str, ...] = ()  # what was changed in the keys of the weights


class CorpusFacts(_Facts):
    """The images: their source, the path of the corpus manifest, and the SHA-256 of that file."""

    source: str
    manifest: str | None = None
    sha256: str | None = None


class Totals(_Facts):
    """Counts of the images that were listed, used and rejected, and of the layers and channels."""

    listed: int
    images: int
    rejects: int
    rejects_by_reason: dict[str, int]
    passed_over: dict[str, int] = {}
    layers: int
    channels: int


class CheckpointFacts(_Facts):
    """A checkpoint of the training that the run followed."""

    name: str
    source: str
    fingerprint: str


class DivergedFacts(_Facts):
    """A checkpoint that was left out because its weights have diverged."""

    name: str
    file: str


class PrecisionFacts(_Facts):
    """What half precision costs: among `images`, `differing` of `sets` channels have different best images than in float32.

    `sets` is 0 if too few images could be compared. `tolerances`: by layer, how much the two passes of the scan may differ.
    """

    images: int
    sets: int
    differing: int
    tolerances: dict[str, float]

    @property
    def share(self) -> float | None:
        """The share of channels that differ; None if none were compared."""
        return self.differing / self.sets if self.sets else None


def _known_keys(kind: type[Frozen]) -> BeforeValidator:
    """Ignore unknown keys in a section of a spec: a newer version may have written them."""

    def known(section: object) -> object:
        if not isinstance(section, Mapping):
            return section
        return {key: value for key, value in section.items() if key in kind.model_fields}

    return BeforeValidator(known)


class SpecSections(_Facts):
    """The sections of a run's spec that readers use, as values; None if the kind of job has no such section."""

    decode: Annotated[DecodeSpec, _known_keys(DecodeSpec)] = DecodeSpec()
    resources: Annotated[ResourcesSpec, _known_keys(ResourcesSpec)] = ResourcesSpec()
    scan: Annotated[ScanSpec, _known_keys(ScanSpec)] | None = None
    project: Annotated[ProjectSpec, _known_keys(ProjectSpec)] | None = None
    evolve: Annotated[EvolveSpec, _known_keys(EvolveSpec)] | None = None
    sanity: Annotated[SanitySpec, _known_keys(SanitySpec)] | None = None


_SECTIONS = JsonFormat(SpecSections)


class RunFacts(_Facts):
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
    backends: dict[str, Any] = {}
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
    schemas: dict[str, str] = {}

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
