"""The entry points of jobs. Takes `JOB SPEC.toml`, `submitted ROOT RUN NUMBER` or `head`; gives an exit code.

    python -P -m jobs scan run.toml
    python -P -m jobs submitted s3://bucket/atlas flowers 1
    python -P -m jobs head

The second form is what `deconvoy submit` and the service give to Ray: what to do was written under the root. The third is a
Ray on this machine, for a service that was given no cluster.
"""

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs import cluster
from jobs.correspondence import correspondence
from jobs.evolve import evolve
from jobs.filters import filters
from jobs.head import head
from jobs.invariance import invariance
from jobs.invert import invert
from jobs.occlude import occlude
from jobs.outcome import Outcome
from jobs.sanity import sanity
from jobs.scan import scan
from jobs.told import Told
from jobs.watch import Logged, Watcher
from workers import log, machine
from workers.errors import DeconvoyError, RunError, SpecError
from workers.instruments import SPECS
from workers.log import Log
from workers.spec import check_run_id, make
from workers.spec_file import read_spec
from workers.store.attempts import CANCELLED, Attempts, Ended
from workers.store.root import Root, patient

JOBS: dict[str, Callable[[Any, Watcher], Outcome]] = {
    "scan": scan,
    "occlude": occlude,
    "invert": invert,
    "sanity": sanity,
    "filters": lambda spec, _: filters(spec),
    "evolve": evolve,
    "invariance": invariance,
    "correspondence": correspondence,
}


def main(words: list[str]) -> int:
    """Run the job that the words name; gives the exit code."""
    try:
        log.set_up()
        match words:
            case ["submitted", root, run, number] if number.isdecimal():
                return submitted(patient(root), check_run_id(run), int(number))
            case ["head"]:
                return head(cluster.cpus())
            case [job, path] if job in JOBS:
                return _run(job, read_spec(Path(path)), Logged()).exit_code
        raise SpecError([f"usage: python -P -m jobs {'|'.join(JOBS)} run.toml"])
    except DeconvoyError as error:
        Log().say(str(error), log.ERROR)
        return error.exit_code
    except (OSError, MemoryError, RecursionError) as error:
        line = machine.trouble(error)
        if line is None:
            raise
        Log().say(line, log.ERROR)
        return 1


def submitted(root: Root, run: str, number: int) -> int:
    """Run what was submitted under a run id, and write down how the attempt goes and ends."""
    attempts = Attempts(root, run)
    os.environ.setdefault(cluster.DRIVER_CPUS, "1")
    try:
        begun = attempts.begun(number)
        if begun is None:
            raise RunError(f"attempt {number} at run {run!r} was not submitted under {root.url!r}")
        _check_wanted(attempts, number)
        with Told(attempts, number) as watch:
            code, told = _run(begun.job, dict(begun.spec), watch).exit_code, ""
    except DeconvoyError as error:
        code, told = error.exit_code, str(error)
    except KeyboardInterrupt:
        code, told = CANCELLED, "cancelled; submit it again and it goes on from here"
    except BaseException as error:  # a bug, or the end of the process: it is written down, and goes on
        attempts.end(number, _ended(1, machine.trouble(error) or f"{type(error).__name__}: {error}"))
        raise
    attempts.end(number, _ended(code, told))
    if told:
        Log({"run": run, "attempt": number}).say(told, log.ERROR, exit_code=code)
    return code


def _check_wanted(attempts: Attempts, number: int) -> None:
    """Begin no attempt that was cancelled, or taken for lost, before Ray had room for it.

    Raises:
        RunError: another attempt was begun since, or this one is over.
    """
    why = attempts.unwanted(number)
    if why:
        raise RunError(f"attempt {number} at run {attempts.run!r} does not begin: {why}")


def _run(job: str, values: dict[str, Any], watch: Watcher) -> Outcome:
    outcome = JOBS[job](make(SPECS[job], values), watch)
    watch.begin(outcome.run)  # a run without actors has not said its id
    how = "was published before; nothing is changed" if outcome.already_published else "is published"
    counted = {"images": outcome.images, "rejects": outcome.rejects, "seconds": round(outcome.seconds, 3)}
    told = ", ".join(f"{value:,} {name}" for name, value in counted.items())
    watch.say(f"run {outcome.run} {how}: {told}", **counted)
    return outcome


def _ended(code: int, told: str) -> Ended:
    return Ended(datetime.now(UTC).isoformat(timespec="seconds"), code, told)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
