"""The pipelines by kind of job. Takes a kind, imports its pipeline, gives its function."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from jobs.run.outcome import Outcome
from jobs.watch import Watcher
from workers.kinds import Kind

Pipeline = Callable[[Any, Watcher], Outcome]  # each takes the spec of its own kind

PIPELINES: Mapping[Kind, str] = {
    Kind.SCAN: "jobs.scan:scan",
    Kind.OCCLUDE: "jobs.occlude:occlude",
    Kind.INVERT: "jobs.invert:invert",
    Kind.FILTERS: "jobs.filters:filters",
    Kind.EVOLVE: "jobs.evolve.pipeline:evolve",
    Kind.INVARIANCE: "jobs.invariance:invariance",
    Kind.CORRESPONDENCE: "jobs.correspondence:correspondence",
    Kind.SANITY: "jobs.sanity:sanity",
    Kind.SYNTHESISE: "jobs.synthesise:synthesise",
    Kind.CONCEPTS: "jobs.concepts:concepts",
}


def pipeline(kind: Kind) -> Pipeline:
    """The function that runs a spec of this kind and publishes it. Importing it loads torch."""
    module, _, name = PIPELINES[kind].partition(":")
    function: Pipeline = getattr(import_module(module), name)
    return function
