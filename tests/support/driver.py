"""A run in a process of its own, so that it can be killed. Takes a spec as JSON, prints its progress, and messages as errors."""

import json
import sys
from typing import Any

from jobs.invert import invert
from jobs.occlude import occlude
from jobs.run.outcome import Outcome
from jobs.scan import scan
from jobs.watch import SilentWatcher
from workers.spec.invert import InversionRun
from workers.spec.make import make
from workers.spec.occlude import OcclusionRun
from workers.spec.scan import make_spec


class Loud(SilentWatcher):
    """Prints the phase and how much of it is done."""

    def __init__(self) -> None:
        self._phase = ""

    def phase(self, name: str, total: int | None, unit: str) -> None:
        self._phase = name
        print(name, total, unit, flush=True)

    def advance(self, done: int, rejects: int = 0) -> None:
        print(self._phase, done, rejects, flush=True)

    def say(self, line: str, **about: object) -> None:
        del about
        print(line, file=sys.stderr, flush=True)


def run(values: dict[str, Any]) -> Outcome:
    """Run the job that the spec is one of."""
    if "occlude" in values:
        return occlude(make(OcclusionRun, values), Loud())
    if "invert" in values:
        return invert(make(InversionRun, values), Loud())
    return scan(make_spec(values), Loud())


if __name__ == "__main__":
    outcome = run(json.loads(sys.argv[1]))
    print(json.dumps({"shards_run": outcome.shards_run, "groups_run": outcome.groups_run}), flush=True)
