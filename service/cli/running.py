"""What commands that run jobs share. Takes flags and specs, gives progress, a summary and an exit code."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from service.cli import drawing
from service.cli.terminal import complain, echo
from workers.errors import UsageError
from workers.host import log

if TYPE_CHECKING:
    from jobs.run.outcome import Outcome
    from jobs.watch import Watcher
    from workers.spec.make import AnySpec
    from workers.spec.parts import AnyRun

DIGITS = 19  # of the largest integer of 64 bits


def watched(work: "Callable[[Watcher], Outcome]") -> "Outcome":
    """Do something under progress bars, which end with it."""
    from service.cli.console import Bars

    watch = Bars() if log.form() is log.Form.TEXT else _logged()
    try:
        return work(watch)
    finally:
        watch.close()


def _logged() -> "Watcher":
    from jobs.watch import LogWatcher

    return LogWatcher()


def finish(outcome: "Outcome", *, as_json: bool) -> None:
    """Tell how a run ended, and end with its exit code."""
    from service.cli.console import print_json

    if as_json:
        print_json(asdict(outcome))
    else:
        tell(outcome)
    if outcome.complaint:
        complain(outcome.complaint)
    raise typer.Exit(outcome.exit_code)


def tell(outcome: "Outcome") -> None:
    """A short summary, and the next thing to do."""
    from service.query import catalog
    from workers.store.root import Root

    run = catalog.find(Root(outcome.root), outcome.run, None)
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(run.rejects_by_reason.items()))
    sizes = ", ".join(f"{name} {size(sum(part.bytes for part in files))}" for name, files in run.tables.items())
    rate = _rate(outcome.images_per_s) if outcome.images_per_s else f"nothing was left to {run.job}"
    lines = {
        "run": outcome.run + (" (was published before; nothing is changed)" if outcome.already_published else ""),
        "images": f"{outcome.images:,}",
        "rejects": f"{outcome.rejects:,}" + (f" ({reasons})" if reasons else ""),
        "ended": ", ".join(f"{count:,} {status}" for status, count in sorted(outcome.statuses.items())),
        "speed": f"{rate}; {outcome.seconds:,.1f} s in all",
        "tables": f"{outcome.root}/tables/*/run={outcome.run}/ ({sizes})",
        "look": drawing.next_look(run),
    }
    for name, text in lines.items():
        if text:
            echo(f"{name:7} {text}")


def _rate(images_per_s: float) -> str:
    return f"{images_per_s:,.1f} images/s" if images_per_s >= 1 else f"{1 / images_per_s:,.1f} s an image"


def spec_of(
    kind: "type[AnySpec]", path: Path | None, flags: dict[str, Any], base: dict[str, Any] | None = None
) -> "AnySpec":
    """A spec from a TOML file and flags, which win over it; what neither says is as in `base`.

    Raises:
        SpecError: the file cannot be read, or says something that cannot be.
    """
    from workers.spec.make import make, merged
    from workers.spec.toml import read_spec

    told = read_spec(path) if path else {}
    return make(kind, merged(merged(base or {}, told), flags))


def absolute(path: str | None) -> str | None:
    """A path as every process will understand it, whatever its working directory; URLs as they are."""
    from workers import locations

    return locations.absolute(path, Path.cwd()) if path else path


def absolute_corpus(source: str | None) -> str | None:
    """A corpus with its relative paths likewise."""
    from workers.sources.registry import source_of

    return source_of(source).absolute(source, Path.cwd()) if source else source


def absolute_model(source: str | None) -> str | None:
    """A model's source with the path of its weights likewise."""
    from workers.spec import families

    return families.absolute(source, Path.cwd()) if source else source


def number(text: str | None) -> int | str | None:
    """A number where the text is one; the rest is for the spec to judge, thousands of digits too."""
    return int(text) if text and text.isdecimal() and len(text) <= DIGITS else text


def size(count: int) -> str:
    """Bytes as kB or MB."""
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count / 1e3:,.1f} kB"


def carry_out(spec: "AnyRun", output: Path | None, *, as_json: bool) -> None:
    """Run a spec under progress bars, draw it if a picture is asked for, report how it ended, and exit with its code."""
    from jobs.kinds import pipeline
    from workers.spec.kinds import kind_of

    outcome = watched(partial(pipeline(kind_of(spec)), spec))
    if output is not None:
        drawing.draw_run(outcome.root, outcome.run, output)
    finish(outcome, as_json=as_json)


def read_spec(path: Path, kind: str | None) -> tuple[str, dict[str, Any]]:
    """The kind of job of a spec file, and what it says.

    Raises:
        SpecError: it cannot be read.
    """
    from workers.spec import toml
    from workers.spec.kinds import kind_with

    values = toml.read_spec(path)
    return kind or kind_with(values), values


def write_text(output: Path, what: str, text: str) -> None:
    """Write a file and print its path.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{what} {str(output)!r} cannot be written: {error.strerror or error}") from error
    echo(str(output))
