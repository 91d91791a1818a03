"""The entry points of jobs. Takes `JOB SPEC.toml`, `submitted ROOT RUN NUMBER` or `head`; gives an exit code.

    python -P -m jobs scan run.toml
    python -P -m jobs submitted s3://bucket/atlas flowers 1
    python -P -m jobs head

`deconvoy submit` and the service submit the second form to Ray, after they have stored the request under the root. The third
starts Ray on this machine, for a service without a cluster.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from jobs.kinds import pipeline
from jobs.ray import cluster
from jobs.ray.head import head
from jobs.ray.turn import turn
from jobs.run.outcome import Outcome
from jobs.run.progress import ProgressWriter
from jobs.watch import LogWatcher, Watcher
from workers.errors import DeconvoyError, RunError, SpecError
from workers.host import log, machine, processors
from workers.host.exit_codes import CANCELLED
from workers.host.log import Log
from workers.kinds import Kind
from workers.spec.kinds import SPECS, kind_of
from workers.spec.make import check_run_id, make
from workers.spec.parts import AnyRun
from workers.spec.toml import read_spec
from workers.store.attempts import Attempts, Begun, Ended
from workers.store.root import Root, patient


def main(words: list[str]) -> int:
    """Run the job that the arguments name; returns the exit code."""
    try:
        log.set_up()
        match words:
            case ["submitted", root, run, number] if number.isdecimal():
                return submitted(patient(root), check_run_id(run), int(number))
            case ["head"]:
                return head(processors.cpus())
            case [kind, path] if kind in SPECS:
                return _run(make(SPECS[Kind(kind)], read_spec(Path(path))), LogWatcher()).exit_code
        raise SpecError([f"usage: python -P -m jobs {'|'.join(SPECS)} run.toml"])
    except DeconvoyError as error:
        Log().say(str(error), log.ERROR)
        return error.exit_code
    except (OSError, MemoryError, RecursionError) as error:
        line = machine.explain(error)
        if line is None:
            raise
        Log().say(line, log.ERROR)
        return 1


def submitted(root: Root, run: str, number: int) -> int:
    """Run a submitted attempt, and store its progress and how it ends."""
    attempts = Attempts(root, run)
    try:
        begun = attempts.begun(number)
        if begun is None:
            raise RunError(f"attempt {number} of run {run!r} was not submitted under {root.url!r}")
        _check_wanted(attempts, number)
        with ProgressWriter(Attempts(Root(root.url), run), number) as watch:  # without retries
            code, problem = _run_in_turn(begun, run, watch).exit_code, ""
    except DeconvoyError as error:
        code, problem = error.exit_code, str(error)
    except KeyboardInterrupt:
        code, problem = CANCELLED, "cancelled; submit it again to resume"
    except BaseException as error:  # a bug, or the end of the process: store the error, then raise it
        attempts.end(number, _ended(1, machine.explain(error) or f"{type(error).__name__}: {error}"))
        raise
    attempts.end(number, _ended(code, problem))
    if problem:
        Log({"run": run, "attempt": number}).say(problem, log.ERROR, exit_code=code)
    return code


def _check_wanted(attempts: Attempts, number: int) -> None:
    """Refuse an attempt that was cancelled or replaced before Ray had room for it.

    Raises:
        RunError: a later attempt has begun, or this one has ended.
    """
    reason = attempts.stop_reason(number)
    if reason:
        raise RunError(f"attempt {number} of run {attempts.run!r} does not start: {reason}")


def _run_in_turn(begun: Begun, run: str, watch: ProgressWriter) -> Outcome:
    """Run a submitted spec once the cluster has a place for its first actor."""
    spec = begun.spec.parse(begun.job)
    with cluster.session(watch), turn(spec.cluster_resources, run, begun.at, watch.wait):
        return _run(spec, watch)


def _run(spec: AnyRun, watch: Watcher) -> Outcome:
    """Run a spec. The pipeline is imported only here, so that a run that waits for its place has not loaded torch."""
    outcome = pipeline(kind_of(spec))(spec, watch)
    how = "was already published; nothing has changed" if outcome.already_published else "is published"
    counts = {"images": outcome.images, "rejects": outcome.rejects, "seconds": round(outcome.seconds, 3)}
    summary = ", ".join(f"{value:,} {name}" for name, value in counts.items())
    watch.say(f"run {outcome.run} {how}: {summary}", **counts)
    return outcome


def _ended(code: int, error: str) -> Ended:
    return Ended(datetime.now(UTC).isoformat(timespec="seconds"), code, error)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
