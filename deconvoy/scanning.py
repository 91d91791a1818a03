"""Scans from Python. Takes a module and a corpus, publishes a run under a root, gives that run; needs torch and Ray."""

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from torch import nn

from deconvoy.atlas import Run
from deconvoy.atlas import open as open_root
from jobs.scan import scan as run_scan
from service.cli.running import run_with_progress
from workers import locations
from workers.errors import ModelError
from workers.models import model as models
from workers.models.architectures import override
from workers.sources.registry import source_of
from workers.spec import families
from workers.spec.make import make, merged
from workers.spec.parts import ModelSpec
from workers.spec.scan import RunSpec

Location = str | PathLike[str]


def scan(
    module: nn.Module,
    *,
    corpus: Location,
    root: Location,
    preprocessing: Mapping[str, Any] | None = None,
    layers: Sequence[str] | None = None,
    run: str | None = None,
    **options: Mapping[str, Any],
) -> Run:
    """Scan a corpus with a network of your own, or resume where an earlier call with the same run id stopped.

    The module is exported, and its graph and weights are stored under the root: actors need none of your code.

    Args:
        module: takes images (n, channels, height, width) in model-input scale. A copy of it is exported, in float32 and in
            evaluation mode; the module itself does not change.
        corpus: a folder or a glob of images, as a path or an fsspec URL.
        root: folder or fsspec URL for the datasets.
        preprocessing: `resize`, `crop` (both in pixels), `mean`, `std` (on a scale of 0 to 1, one value for each channel that
            the module takes), `interpolation`, `fit`, `pad` and `bits`, as in the table `[model]` of a spec file; by default
            ImageNet's 256, 224, mean and deviation. Give `mean` and `std` together, and `resize` and `crop`, of which one is
            enough with `fit` or `pad`.
        layers: names or globs of layers; by default "auto".
        run: run id; by default made from the module's class, the corpus and the time.
        **options: other tables of a spec file: `scan={"k": 16}`, `project={"method": "none"}`, `resources={"actors": 2}`.

    Returns:
        The published run.

    Raises:
        DeconvoyError: the module cannot be exported, a value is not valid, or the run cannot continue. The same call resumes it.
    """
    where = locations.absolute(fspath(root), Path.cwd())
    images = source_of(fspath(corpus)).absolute(fspath(corpus), Path.cwd())
    given = dict(preprocessing or {})
    draft = make(ModelSpec, {"source": families.stored_source("module", "0" * 32), **given})
    _require_together(draft)
    complete = override(models.DEFAULT, draft)
    model = models.export(module, type(module).__name__, complete)
    values = {
        "run": run,
        "root": where,
        "model": {"source": model.stored.source, **complete.configuration()},
        "corpus": {"source": images},
        "scan": {"layers": layers and list(layers)},
    }
    spec = make(RunSpec, merged(options, values))
    # The run finds the network in this process, as long as `model` is held, and stores it under the root when it starts to write.
    outcome = run_with_progress(lambda watch: run_scan(spec, watch))
    return open_root(where).run(outcome.run)


def _require_together(draft: ModelSpec) -> None:
    """Refuse half of a preprocessing: with ImageNet's other half, it would silently give wrong pictures."""
    pairs = [("mean", "std"), ("std", "mean")]
    if draft.fit is None and draft.pad is None:  # with these, one size follows from the other
        pairs += [("crop", "resize"), ("resize", "crop")]
    for one, other in pairs:
        value = getattr(draft, one)
        if value is not None and getattr(draft, other) is None:
            raise ModelError(f"preprocessing has {one} {value} but no {other}; give both, or neither for ImageNet's")
