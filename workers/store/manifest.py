"""A published run as a value: its manifest.json. Takes bytes, gives a frozen Manifest; takes a Manifest, gives its bytes."""

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from workers.errors import DamagedRun, QueryError
from workers.kinds import Kind
from workers.spec.evolve import EvolveSpec
from workers.spec.parts import Frozen, ResourcesSpec, Triple
from workers.spec.sanity import SanitySpec
from workers.spec.scan import ProjectSpec, ScanSpec
from workers.store.json_format import JsonFormat, parse

VERSION = 1


class _Facts(BaseModel):
    """A frozen part of a manifest. Keys that it does not know are ignored: a newer version may have written them."""

    model_config = ConfigDict(frozen=True, extra="ignore")


@dataclass(frozen=True)
class PartFile:
    """One Parquet file of a table: path relative to the root, rows, size in bytes, and SHA-256."""

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Layer:
    """A layer of a run: size of its feature map, and the receptive field of its units in model-input pixels."""

    index: int
    name: str
    channels: int
    height: int
    width: int
    field_height: int
    field_width: int
    stride_y: int | None
    stride_x: int | None

    def known(self, channel: int) -> int:
        """The channel's number, if the layer has it.

        Raises:
            QueryError: it does not.
        """
        if not 0 <= channel < self.channels:
            raise QueryError(f"no channel {channel} in layer {self.name!r}; it has 0 to {self.channels - 1}")
        return channel


class Preprocessing(_Facts):
    """How the model prepares images; see `workers.core.preprocess`."""

    resize: int
    crop: int
    mean: Triple
    std: Triple
    interpolation: str


class ModelFacts(_Facts):
    """The network: where it came from, the hash of its graph and weights; a run over several models joins them by spaces."""

    source: str
    fingerprint: str
    preprocessing: Preprocessing | None = None
    class_names: tuple[str, ...] = ()


class CorpusFacts(_Facts):
    """The images: their source, the path of the list that the run was made of, and that file's SHA-256."""

    source: str
    manifest: str | None = None
    sha256: str | None = None


class Totals(_Facts):
    """How many images were listed, used and rejected, and how many layers and channels were looked at."""

    listed: int
    images: int
    rejects: int
    rejects_by_reason: dict[str, int]
    layers: int
    channels: int


class CheckpointFacts(_Facts):
    """A checkpoint of a training whose features were followed."""

    name: str
    source: str
    fingerprint: str


class DivergedFacts(_Facts):
    """A checkpoint that was left out, since its weights have diverged."""

    name: str
    file: str


def _known_keys(kind: type[Frozen]) -> BeforeValidator:
    """Leave out the keys of a spec's section that this version does not know: the run was made with them all the same."""

    def known(section: object) -> object:
        if not isinstance(section, Mapping):
            return section
        return {key: value for key, value in section.items() if key in kind.model_fields}

    return BeforeValidator(known)


class Asked(_Facts):
    """The sections of a run's spec that others read, as values; None is a section that its kind of job does not have."""

    resources: Annotated[ResourcesSpec, _known_keys(ResourcesSpec)] = ResourcesSpec()
    scan: Annotated[ScanSpec, _known_keys(ScanSpec)] | None = None
    project: Annotated[ProjectSpec, _known_keys(ProjectSpec)] | None = None
    evolve: Annotated[EvolveSpec, _known_keys(EvolveSpec)] | None = None
    sanity: Annotated[SanitySpec, _known_keys(SanitySpec)] | None = None


_ASKED = JsonFormat(Asked)


class RunFacts(_Facts):
    """What a job says of a run that it publishes.

    Attributes:
        job: kind of job.
        created: when it was published, UTC, ISO 8601.
        spec: everything that the run was asked to do, as it was written down.
        identity: what its run id stands for, as plain values.
        model: the network.
        corpus: the images; None for a job without any.
        totals: counts.
        layers: in the order of the graph.
        input: shape of the model's input, (channels, height, width); None where there are several models.
        versions: of the software, and the device.
        backends: torch's settings.
        seconds: time of the attempt that published the run.
        images_per_s: images that this attempt used per second; None if it used none.
        shards: results of shards that the run was made of, as paths under the root.
        groups: the same of projection groups.
        reduced_batch: the smaller batch that the run took when memory ran out.
        checkpoints: of a training, in the order of the numbers in `evolution`.
        diverged: its checkpoints that were left out.
    """

    job: Kind
    created: str
    spec: dict[str, Any]
    identity: Any = None
    model: ModelFacts
    corpus: CorpusFacts | None
    totals: Totals
    layers: tuple[Layer, ...] = ()
    input: tuple[int, int, int] | None = None
    versions: dict[str, str]
    backends: dict[str, Any] = {}
    seconds: float
    images_per_s: float | None
    shards: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    reduced_batch: int | None = None
    checkpoints: tuple[CheckpointFacts, ...] = ()
    diverged: tuple[DivergedFacts, ...] = ()

    @cached_property
    def asked(self) -> Asked:
        """The spec as values."""
        return _ASKED.make(self.spec)

    @field_validator("created")
    @classmethod
    def _is_a_time(cls, created: str) -> str:
        datetime.fromisoformat(created)
        return created

    @model_validator(mode="after")
    def _read_spec(self) -> Self:
        """Have a spec that cannot be read found with the manifest, not by who asks for it."""
        try:
            _ = self.asked
        except ValueError as error:
            raise ValueError(f"spec.{error}") from error
        return self


class Manifest(RunFacts):
    """A manifest.json.

    Attributes:
        version: of its format; keys are only added within one.
        run: run id.
        tables: files by table.
        schemas: versions of the tables' schemas.
    """

    version: int
    run: str
    tables: dict[str, tuple[PartFile, ...]] = Field(min_length=1)
    schemas: dict[str, str] = {}

    @property
    def listing(self) -> str | None:
        """Path of the corpus manifest that the run was made of; None for a job without images."""
        return self.corpus.manifest if self.corpus else None

    @property
    def parts(self) -> tuple[PartFile, ...]:
        """The files of all tables."""
        return tuple(part for files in self.tables.values() for part in files)

    @property
    def results(self) -> tuple[str, ...]:
        """The results of shards and groups that the run was made of, as paths under the root."""
        return (*self.shards, *self.groups)


_FORMAT = JsonFormat(Manifest)


def encode(manifest: Manifest) -> bytes:
    """A manifest.json."""
    return _FORMAT.encode(manifest)


def decode(data: bytes, run: str) -> Manifest:
    """The manifest in the bytes of a manifest.json.

    Raises:
        ValueError: they are not a manifest of this run, and why, in one line.
        DamagedRun: it is of another version.
    """
    try:
        plain: Any = parse(data)
        version, owner = plain["version"], plain.get("run")
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"it cannot be read: {_named(error)}") from error
    if version != VERSION:
        raise DamagedRun(f"run {run!r}: its manifest.json is of version {version!r}; this deconvoy reads {VERSION}")
    if owner != run:
        raise ValueError(f"it is of run {owner!r}")
    return _FORMAT.make(plain)


def _named(error: Exception) -> str:
    return f"missing key {error}" if isinstance(error, KeyError) else str(error)
