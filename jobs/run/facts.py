"""What every manifest.json says beside its files. Takes an attempt and its accounts, gives plain values."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jobs.run.accounts import Counted
from workers.actors.device import BACKENDS
from workers.actors.job import Environment
from workers.core.network import Layer

if TYPE_CHECKING:
    from jobs.run.attempt import Attempt


def of_run(run: "Attempt[Any]", counted: Counted, environment: Environment) -> dict[str, Any]:
    """The facts of a run: what was asked, of which model and corpus, with which software, and how many images there were.

    `reduced_batch` is there only if memory ran out and the run took smaller batches than it was asked to.
    """
    spec, used = run.asked, run.job.spec.batch_size
    return {
        **({} if used == spec.batch_size else {"reduced_batch": used}),
        "job": run.kind,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "spec": spec.model_dump(mode="json"),
        "identity": spec.identity(),
        "model": {
            "source": spec.model.source,
            "fingerprint": run.model.fingerprint,
            "preprocessing": asdict(run.model.preprocessing),
            "class_names": run.model.stored.class_names,
        },
        "corpus": {"source": spec.corpus.source, "manifest": run.job.manifest},
        "totals": {
            "listed": counted.listed,
            "images": counted.images,
            "rejects": sum(counted.rejects.values()),
            "rejects_by_reason": counted.rejects,
            "layers": len(run.layers),
            "channels": sum(layer.channels for layer in run.layers),
        },
        "layers": [_layer(layer) for layer in run.layers],
        "input": list(run.model.network.nodes[0].shape),
        "versions": environment.numerics(),
        "backends": BACKENDS,
    }


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "index": layer.index,
        "name": layer.name,
        "channels": layer.channels,
        "height": layer.height,
        "width": layer.width,
        "field_height": layer.field.height,
        "field_width": layer.field.width,
        "stride_y": layer.field.stride_y,
        "stride_x": layer.field.stride_x,
    }
