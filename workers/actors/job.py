"""Jobs, from which workers are built, and the configurations whose hashes name results. Takes values, gives values."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import pyarrow as pa

from workers import formats
from workers.actors.environment import Environment
from workers.models.model import StoredModel
from workers.spec.parts import NetworkSpec

Spec = TypeVar("Spec", bound=NetworkSpec)
Spec_co = TypeVar("Spec_co", bound=NetworkSpec, covariant=True)  # a job is a frozen value


@dataclass(frozen=True)
class Job(Generic[Spec_co]):
    """One run, as its workers receive it.

    Attributes:
        spec: the run's spec, with device cpu or cuda.
        model: the stored network.
        layers: names of the requested layers, in the order of the graph.
        manifest: path of the corpus manifest under the root; empty for a job without a corpus.
        decoders: optional decoders of the machine that makes the job. It names results by them.
        pyarrow: its version of pyarrow, which writes the tables.
    """

    spec: Spec_co
    model: StoredModel
    layers: tuple[str, ...]
    manifest: str
    decoders: tuple[str, ...] = field(default_factory=formats.installed)
    pyarrow: str = pa.__version__


def digest(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """The hash of a JSON value: 32 hexadecimal digits of the SHA-256 of its canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def border_configuration(job: Job[Any]) -> dict[str, Any]:
    """Which units of a map count; nothing if all do, so that results keep their names."""
    scan = job.spec.scan
    return {"border": scan.border} if scan.is_inner else {}


def target_label(job: Job[Any], target: str, label: str | None) -> str | None:
    """The image's label if it decides which class is measured: labels depend on the spec, not only on the file."""
    return label if target == "label" and label in job.model.class_names else None


def network_configuration(job: Job[Any], environment: Environment) -> dict[str, Any]:
    """What the results of every kind of job depend on."""
    numerics = environment.numerics()
    del numerics["python"]
    del numerics["deconvoy"]
    numerics.pop("engine", None)
    return {
        "environment": numerics,
        "model": job.model.fingerprint,
        "preprocessing": job.model.preprocessing.configuration(),
        "engine": environment.engine,
        "threads": job.spec.resources.threads,
    }


def common_configuration(job: Job[Any], environment: Environment) -> dict[str, Any]:
    """What the results of every kind of job over a corpus depend on."""
    decoding = job.spec.decode.configuration()
    return {
        **network_configuration(job, environment),
        "limits": job.spec.limits.model_dump(),
        **({"decode": decoding} if decoding else {}),
    }
