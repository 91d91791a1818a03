"""What every worker of a run is built from, and the hashes that name its results. Takes values, gives values."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, Generic, TypeVar

from workers.corpus.isolate import Verdict
from workers.corpus.manifest import Row
from workers.models.model import StoredModel
from workers.spec.correspondence import CorrespondenceRun
from workers.spec.invariance import InvarianceRun
from workers.spec.invert import InversionRun
from workers.spec.occlude import OcclusionRun
from workers.spec.parts import JobSpec, Precision
from workers.spec.recipe import SCHEDULE, Recipe
from workers.spec.sanity import SanityRun
from workers.spec.scan import RunSpec

# Raised whenever the same inputs would give other numbers: it invalidates stored results.
SCAN_ALGORITHM = 1
PROJECT_ALGORITHM = 3
OCCLUDE_ALGORITHM = 2
INVERT_ALGORITHM = 1
INVARIANCE_ALGORITHM = 1
CORRESPONDENCE_ALGORITHM = 1
SANITY_ALGORITHM = 1
ENGINE = "eager"


Spec = TypeVar("Spec", bound=JobSpec)
Spec_co = TypeVar("Spec_co", bound=JobSpec, covariant=True)  # a job is a frozen value


@dataclass(frozen=True)
class Job(Generic[Spec_co]):
    """One run as its workers see it.

    Attributes:
        spec: the run's spec with the device resolved to cpu or cuda.
        model: the stored network.
        layers: names of the layers to look at, in the order of the graph.
        manifest: path of the corpus manifest under the root.
    """

    spec: Spec_co
    model: StoredModel
    layers: tuple[str, ...]
    manifest: str


@dataclass(frozen=True)
class Environment:
    """The software and the device that give the numbers, and the node they were seen on."""

    deconvoy: str
    python: str
    torch: str
    torchvision: str
    decoder: str
    device: str
    node: str

    def numerics(self) -> dict[str, str]:
        """All that must be equal on every node of a run."""
        return {key: value for key, value in asdict(self).items() if key != "node"}


def digest(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Hash a JSON-able value: 32 hexadecimal digits of the sha256 of its canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def scan_configuration(job: Job[RunSpec], environment: Environment) -> dict[str, Any]:
    """All that the result of a scanned shard depends on, except the shard's rows."""
    spec = job.spec
    return {
        "job": "scan",
        "algorithm": SCAN_ALGORITHM,
        **_common(job, environment),
        "layers": job.layers,
        "k": spec.scan.k,
        "distinct": spec.scan.distinct,
        "batch": spec.scan.batch,
        "precision": spec.resources.precision,
    }


def project_configuration(job: Job[RunSpec], environment: Environment) -> dict[str, Any]:
    """All that the result of a projection group depends on, except the group's rows."""
    project = job.spec.project
    return {
        "job": "project",
        "algorithm": PROJECT_ALGORITHM,
        **_common(job, environment),
        "batch": job.spec.scan.batch,
        "method": project.method,
        "image_format": project.image_format,
        "previews": project.previews,
        "precision": job.spec.resources.precision,
    }


def occlude_configuration(
    job: Job[OcclusionRun], environment: Environment, beside: str | None, label: str | None
) -> dict[str, Any]:
    """All that one image's occlusion maps depend on, except the image.

    `beside` is the hash of the run shown beside; `label` is the image's.
    """
    return {
        "job": "occlude",
        "algorithm": OCCLUDE_ALGORITHM,
        **_common(job, environment),
        "layers": job.layers,
        "occlude": job.spec.occlude.model_dump(mode="json", exclude={"images", "sample", "from_run"}),
        "class_names": job.model.class_names,
        "label": _followed(job, job.spec.occlude.target, label),
        "beside": beside,
        "panels": version("matplotlib"),
    }


def invert_configuration(
    job: Job[InversionRun], environment: Environment, layer: str, how: Recipe, size: int
) -> dict[str, Any]:
    """All that one restart of one image at a layer depends on, except the image and the restart's number.

    `how` is the layer's recipe; `size` is how many inversions run in its batch: numbers depend on the batch's shape.
    """
    spec = job.spec.invert
    return {
        "job": "invert",
        "algorithm": INVERT_ALGORITHM,
        **_common(job, environment),
        "layer": layer,
        "size": size,
        "recipe": asdict(how),
        "schedule": SCHEDULE,
        "invert": {"seed": spec.seed, "channels": spec.channels, "region": spec.region},
    }


def invariance_configuration(job: Job[InvarianceRun], environment: Environment, label: str | None) -> dict[str, Any]:
    """All that one image's rows depend on, except the image; `label` is the image's."""
    return {
        "job": "invariance",
        "algorithm": INVARIANCE_ALGORITHM,
        **_common(job, environment),
        "layers": job.layers,
        "invariance": job.spec.invariance.model_dump(mode="json", exclude={"layers", "images", "sample"}),
        "class_names": job.model.class_names,
        "label": _followed(job, job.spec.invariance.target, label),
    }


def correspondence_configuration(
    job: Job[CorrespondenceRun], environment: Environment, image_id: str
) -> dict[str, Any]:
    """All that the signs of one image depend on, except the image: of the parts its own alone; its id seeds the draws."""
    spec = job.spec.correspondence
    return {
        "job": "correspondence",
        "algorithm": CORRESPONDENCE_ALGORITHM,
        **_common(job, environment),
        "layers": job.layers,
        "boxes": [box.model_dump() for box in spec.boxes_of(image_id)],
        "draws": spec.draws,
        "seed": spec.seed,
        "fill": spec.fill,
    }


def sanity_configuration(job: Job[SanityRun], environment: Environment, precision: Precision) -> dict[str, Any]:
    """All that one image's rows depend on, except the image and its units, whose places and scores are all that the scan adds.

    `precision` is that of the scan, to which its scores are held.
    """
    spec = job.spec.sanity
    return {
        "job": "sanity",
        "algorithm": SANITY_ALGORITHM,
        **_common(job, environment),
        "sanity": spec.model_dump(mode="json", include={"stages", "modes", "draws", "seed"}),
        "precision": precision,
        "numpy": version("numpy"),
    }


def rows_key(rows: Sequence[Row], verdicts: Mapping[int, Verdict]) -> str:
    """Name a shard's result by all of its images that can change it."""
    return digest([_row_key(row, verdicts.get(row.image_index)) for row in rows])


def _row_key(row: Row, verdict: Verdict | None) -> list[Any]:
    judged = [verdict.reason, verdict.detail] if verdict else None
    return [row.image_index, row.uri, row.bytes, row.etag, row.group, row.removed, row.refused, judged]


def _followed(job: Job[Any], target: str, label: str | None) -> str | None:
    """The image's label where it decides what class is followed: it comes from the corpus's spec, not from the file."""
    return label if target == "label" and label in job.model.class_names else None


def _common(job: Job[Any], environment: Environment) -> dict[str, Any]:
    numerics = environment.numerics()
    del numerics["python"]
    del numerics["deconvoy"]
    return {
        "environment": numerics,
        "model": job.model.fingerprint,
        "preprocessing": asdict(job.model.preprocessing),
        "limits": job.spec.limits.model_dump(),
        "engine": ENGINE,
        "threads": job.spec.resources.threads,
    }
