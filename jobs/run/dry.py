"""The plan of a run, before any of it runs. Takes a spec and what a job would run, gives numbers and names."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from workers.actors.device import describe
from workers.actors.environment import Environment
from workers.store.manifest import Manifest
from workers.store.overlay import Overlay
from workers.store.root import Root


@dataclass(frozen=True)
class RunPlan:
    """What a job would do.

    Attributes:
        job: kind of job.
        run: run id; a new one, if the spec gives none.
        images: images that the run uses; None for a job without a corpus.
        layers: names of the layers.
        device: where the network would run.
        actors: number of actors to start with.
        unit: what the run counts: images, inversions, channels, ...
        units_to_run: how many of them remain; None if this machine lacks the device, on which the names of results depend.
        results: number of results of the run's first pass, which other runs can reuse.
        results_done: results that exist already; None if `units_to_run` is.
        passed_over: what the listing of the corpus left out, by reason.
        already_published: whether the run is published, so that nothing is left to do.
        remarks: what else the job would report before its work begins, such as checkpoints that it leaves out.
    """

    job: str
    run: str
    images: int | None
    layers: tuple[str, ...]
    device: str
    actors: int
    unit: str
    units_to_run: int | None
    results: int
    results_done: int | None
    passed_over: dict[str, int]
    already_published: bool = False
    remarks: tuple[str, ...] = ()


def plan_of_published(manifest: Manifest) -> RunPlan:
    """The plan of a published run: nothing."""
    results, totals = len(manifest.shards), manifest.totals
    return RunPlan(
        job=str(manifest.job),
        run=manifest.run,
        images=totals.images + totals.rejects if manifest.corpus else None,
        layers=tuple(layer.name for layer in manifest.layers),
        device=manifest.sections.resources.device,
        actors=0,
        unit="results",
        units_to_run=0,
        results=results,
        results_done=results,
        passed_over=dict(totals.passed_over),
        already_published=True,
    )


def is_here(device: str) -> bool:
    """Whether this machine has the device of a run."""
    return device == "cpu" or torch.cuda.is_available()


def environment(device: str, expected: Mapping[str, str]) -> Environment:
    """The software and device that actors on machines like this one have, with what their workers add."""
    return replace(describe(device if is_here(device) else "cpu"), **expected)


@contextmanager
def overlay(url: str) -> Iterator[Overlay]:
    """A root that is only read: what a plan writes is temporary."""
    with tempfile.TemporaryDirectory() as folder:
        yield Overlay(Root(url), folder)
