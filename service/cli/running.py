"""Running a job from a command. Takes flags and spec files, shows progress, prints the outcome and exits with its code."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from service.cli import drawing
from service.cli.terminal import complain, echo
from workers.errors import UsageError
from workers.host import ending, log

if TYPE_CHECKING:
    from jobs.run.outcome import Outcome
    from jobs.watch import Watcher
    from service.cli.options import RunFlags
    from workers.kinds import Kind
    from workers.spec.parts import AnyRun, NetworkSpec

DIGITS = 19  # of the largest 64-bit integer


def run_with_progress(work: "Callable[[Watcher], Outcome]") -> "Outcome":
    """Run a job and show its progress: as bars or, if logs are JSON, as log lines."""
    ending.end_once()
    watch = _watcher()
    try:
        return work(watch)
    finally:
        watch.close()


def _watcher() -> "Watcher":
    from jobs.watch import LogWatcher
    from service.cli.console import ProgressBars

    return ProgressBars() if log.form() is log.Form.TEXT else LogWatcher()


def finish(outcome: "Outcome", *, as_json: bool) -> None:
    """Print the outcome of a run and exit with its code."""
    from service.cli.console import print_json

    if as_json:
        print_json(asdict(outcome))
    else:
        print_outcome(outcome)
    if outcome.complaint:
        complain(outcome.complaint)
    raise typer.Exit(outcome.exit_code)


def print_outcome(outcome: "Outcome") -> None:
    """Print a summary of a run, and the command that draws it."""
    from service.query import catalog
    from workers.sources.source import describe
    from workers.store.root import Root

    run = catalog.find(Root(outcome.root), outcome.run, None)
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(run.rejects_by_reason.items()))
    sizes = ", ".join(f"{name} {format_size(sum(part.bytes for part in files))}" for name, files in run.tables.items())
    about_images = {
        "images": f"{outcome.images:,}",
        "rejects": f"{outcome.rejects:,}" + (f" ({reasons})" if reasons else ""),
        "skipped": describe(run.passed_over),
    }
    lines = {
        "run": outcome.run + (" (already published; nothing has changed)" if outcome.already_published else ""),
        **(about_images if run.corpus else {}),
        "ended": ", ".join(f"{count:,} {status}" for status, count in sorted(outcome.statuses.items())),
        "speed": "; ".join([*(_describe_work(outcome) if run.corpus else ()), f"{outcome.seconds:,.1f} s in total"]),
        "tables": f"{outcome.root}/tables/*/run={outcome.run}/ ({sizes})",
        "view": drawing.draw_command(run),
    }
    for name, text in lines.items():
        if text:
            echo(f"{name:11} {text}")


def _describe_work(outcome: "Outcome") -> Iterator[str]:
    """How fast images were scanned, and how many shards did not need to be."""
    if not outcome.images_per_s:
        yield "nothing to scan, as all results were stored"
        return
    yield _format_rate(outcome.images_per_s)
    if outcome.shards_reused:
        shards = outcome.shards_run + outcome.shards_reused
        yield f"{outcome.shards_reused:,} of {shards:,} shards were stored already"


def _format_rate(images_per_s: float) -> str:
    return f"{images_per_s:,.1f} images/s" if images_per_s >= 1 else f"{1 / images_per_s:,.1f} s per image"


def spec_values(path: Path | None, flags: dict[str, Any], base: dict[str, Any] | None = None) -> dict[str, Any]:
    """The values of a spec from a base, a TOML file and flags; flags override the file, and the file overrides the base.

    Raises:
        SpecError: the file cannot be read.
    """
    from workers.spec.make import merged
    from workers.spec.toml import read_spec

    values = read_spec(path) if path else {}
    return merged(merged(base or {}, values), flags)


def absolute(path: str | None) -> str | None:
    """A path that means the same file in every working directory; URLs do not change."""
    from workers import locations

    return locations.absolute(path, Path.cwd()) if path else path


def absolute_corpus(source: str | None) -> str | None:
    """A corpus source whose paths are absolute."""
    from workers.sources.registry import source_of

    return source_of(source).absolute(source, Path.cwd()) if source else source


def absolute_model(source: str | None) -> str | None:
    """A model source whose path of weights is absolute."""
    from workers.spec import families

    return families.absolute(source, Path.cwd()) if source else source


def parse_number(text: str | None) -> int | str | None:
    """The integer that a text holds; other texts, and integers above 64 bits, are left for the spec to refuse."""
    return int(text) if text and text.isdecimal() and len(text) <= DIGITS else text


_UNITS_OF_TIME = (("s", 1), ("min", 60), ("h", 3600), ("days", 86_400))


def format_size(count: int) -> str:
    """Bytes as kB, MB or GB."""
    if count >= 10**9:
        return f"{count / 1e9:,.1f} GB"
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count / 1e3:,.1f} kB"


def format_count(count: int, noun: str) -> str:
    """A number of things, such as `1 page` or `1,024 pages`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def format_seconds(seconds: float) -> str:
    """A time to two significant digits, in seconds, minutes, hours or days."""
    unit, size = next((unit, size) for unit, size in _UNITS_OF_TIME if seconds < 100 * size or unit == "days")
    rounded = float(f"{seconds / size:.2g}")
    return f"{rounded:g} {unit}"


def run_spec(spec: "NetworkSpec", output: Path | None, flags: "RunFlags") -> None:
    """Run a spec with progress bars, draw the run if there is an output, print the outcome, and exit with its code.

    With --dry-run, print its plan instead.
    """
    if flags.dry_run:
        from service.cli.planning import print_plan

        print_plan(spec, as_json=flags.as_json)
        return
    run_job(spec, output, as_json=flags.as_json)


def run_job(spec: "AnyRun", output: Path | None, *, as_json: bool) -> None:
    """As `run_spec`, for a job whose command has no --dry-run."""
    from jobs.kinds import pipeline
    from workers.spec.kinds import kind_of

    outcome = run_with_progress(partial(pipeline(kind_of(spec)), spec))
    if output is not None:
        drawing.draw_run(outcome.root, outcome.run, output)
    finish(outcome, as_json=as_json)


def read_spec(path: Path, kind: str | None) -> "tuple[Kind, dict[str, Any]]":
    """The kind of job of a spec file, `kind` if it is given, and the values in the file.

    Raises:
        SpecError: the file cannot be read, or there is no such kind of job.
    """
    from workers.spec import toml
    from workers.spec.kinds import kind_named, kind_with

    values = toml.read_spec(path)
    return kind_named(kind) if kind else kind_with(values), values


def write_text(output: Path, name: str, text: str) -> None:
    """Write a file and print its path.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{name} {str(output)!r} cannot be written: {error.strerror or error}") from error
    echo(str(output))
