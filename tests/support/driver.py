"""A run in a process of its own, so that it can be killed. Takes a spec as JSON, says on standard output how far it is."""

import json
import sys

from jobs.occlude import occlude
from jobs.scan import scan
from jobs.watch import Silent
from workers.instruments import OcclusionRun
from workers.spec import make, make_spec


class Loud(Silent):
    """Prints the phase and how much of it is done."""

    def __init__(self) -> None:
        self._phase = ""

    def phase(self, name: str, total: int | None, unit: str) -> None:
        self._phase = name
        print(name, total, unit, flush=True)

    def advance(self, done: int, rejects: int = 0) -> None:
        print(self._phase, done, rejects, flush=True)


if __name__ == "__main__":
    values = json.loads(sys.argv[1])
    outcome = occlude(make(OcclusionRun, values), Loud()) if "occlude" in values else scan(make_spec(values), Loud())
    print(json.dumps({"shards_run": outcome.shards_run, "groups_run": outcome.groups_run}), flush=True)
