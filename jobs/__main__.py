"""The entry point of every job: `python -P -m jobs scan run.toml`. Takes a job's name and a spec file, and runs it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.attempt import Outcome
from jobs.filters import filters
from jobs.invert import invert
from jobs.occlude import occlude
from jobs.scan import scan
from jobs.watch import Silent
from workers.errors import DeconvoyError, SpecError
from workers.instruments import FiltersRun, InversionRun, OcclusionRun
from workers.spec import RunSpec, make, read_toml

Spec = dict[str, Any]
JOBS: dict[str, Callable[[Spec], Outcome]] = {
    "scan": lambda values: scan(make(RunSpec, values), Silent()),
    "occlude": lambda values: occlude(make(OcclusionRun, values), Silent()),
    "invert": lambda values: invert(make(InversionRun, values), Silent()),
    "filters": lambda values: filters(make(FiltersRun, values)),
}


def main(words: list[str]) -> int:
    """Run the job that the words name; gives the exit code."""
    try:
        if len(words) != 2 or words[0] not in JOBS:
            raise SpecError([f"usage: python -P -m jobs {'|'.join(JOBS)} run.toml"])
        path = Path(words[1])
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError([f"spec file {words[1]!r} cannot be read: {error}"]) from error
        return JOBS[words[0]](read_toml(text, path.absolute().parent)).exit_code
    except DeconvoyError as error:
        print(f"deconvoy: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
