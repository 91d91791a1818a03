"""The commands of the control plane. Takes words, submits runs, tells how they go, keeps keys."""

import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.questions import JsonOption, RootOption
from workers.errors import SpecError, UsageError
from workers.store.root import Root

if TYPE_CHECKING:
    from service.schedules import Schedules
    from service.submissions import Status, Submissions

EVERY_S = 1.0

Address = Annotated[
    str, typer.Option("--address", envvar="DECONVOY_ADDRESS", help="Of a Ray dashboard, such as http://head:8265.")
]
RunWord = Annotated[str, typer.Argument(help="Run id.")]
SpecFile = Annotated[Path, typer.Argument(help="TOML file of a run.")]
JobOption = Annotated[
    str | None, typer.Option("--job", help="scan, occlude, invert, sanity or filters; seen from the file without.")
]

keys = typer.Typer(no_args_is_help=True, help="Keys for the service.")


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (submit, status, logs, cancel, gc):
        app.command()(command)
    app.command("retry-rejects")(retry_rejects)
    app.add_typer(keys, name="keys")


def submit(
    spec: SpecFile,
    address: Address,
    job: JobOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until it ends; the exit code is the run's.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Submit a run to a Ray cluster, or go on with one. Its spec and its progress are kept under its root."""
    from service import uploads

    kind, values = read_spec(spec, job)
    asked = uploads.prepared(values, address)
    submissions = submissions_of(str(asked["root"]), address)
    found = submissions.submit(kind, asked)
    if wait:
        found = _watched(submissions, found.run)
    _tell(found, as_json=as_json)
    if wait:
        raise typer.Exit(_exit_code(submissions, found))


def status(
    root: RootOption,
    address: Address,
    run: Annotated[str | None, typer.Argument(help="Run id; all runs without it.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Until it ends.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Tell how submitted runs go."""
    from service.console import print_json, print_table

    submissions = submissions_of(root, address)
    if run is not None:
        _tell(_watched(submissions, run) if watch else submissions.status(run), as_json=as_json)
        return
    rows = [asdict(each) for each in submissions.statuses()]
    if as_json:
        print_json(rows)
        return
    shown = [row | {"progress": _progress(row["progress"])} for row in rows]
    print_table(shown, {name: name for name in ("run", "job", "state", "attempt", "progress", "error")})


def logs(
    run: RunWord,
    root: RootOption,
    address: Address,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="As they come, until the run ends.")] = False,
) -> None:
    """Print what the last attempt at a run has printed."""
    submissions, shown = submissions_of(root, address), 0
    while True:
        live = submissions.status(run).state in _live()
        text = submissions.logs(run)
        typer.echo(text[shown:], nl=False)
        shown = len(text)
        if not (follow and live):
            return
        time.sleep(EVERY_S)


def cancel(run: RunWord, root: RootOption, address: Address, as_json: JsonOption = False) -> None:
    """Stop a run; what it has finished stays, and submitting it again goes on from there."""
    _tell(submissions_of(root, address).cancel(run), as_json=as_json)


def gc(
    root: RootOption,
    older_than: Annotated[float, typer.Option(min=0, help="Days; what is younger stays.")] = 7.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove old runs of schedules that keep a number of them, results that no published run was made of, and stray files."""
    from datetime import UTC, datetime, timedelta

    from service.console import print_json
    from service.housekeeping import Housekeeping
    from service.running import size

    place = Root(root)
    keeper = Housekeeping(place, nowhere(place), datetime.now(UTC), timedelta(days=older_than))
    found, unfinished = keeper.plan(), keeper.unfinished()
    if not dry_run:
        keeper.remove(found)
    if as_json:
        print_json({"removed": [asdict(each) for each in found], "dry_run": dry_run, "unfinished": unfinished})
        return
    for each in found:
        typer.echo(f"{each.path}  {size(each.bytes)}  {each.why}")
    typer.echo(f"{len(found):,} files, {size(sum(each.bytes for each in found))}" + (", would go" if dry_run else ""))
    if unfinished:
        typer.echo(f"results of shards stay: {', '.join(unfinished)} not finished")


def retry_rejects(
    root: RootOption,
    uris: Annotated[
        list[str] | None, typer.Argument(help="Files, as the table rejects names them; all without.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Let files that crashed or hung their decoder be tried again by the next scan; other rejects always are."""
    from service.console import print_json
    from service.housekeeping import retry

    found = retry(Root(root), uris or ())
    if as_json:
        print_json([asdict(each) for each in found])
        return
    for each in found:
        typer.echo(f"{each.uri}  {each.reason}: {each.detail}")
    typer.echo(f"{len(found):,} files will be tried again by the next scan")


@keys.command("add")
def add_key(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    root: RootOption,
    scope: Annotated[str, typer.Option(help="read, submit or admin; each lets do what those before it do.")] = "read",
) -> None:
    """Make a key and print it, this once."""
    from service.keys import Keys, Scope

    if scope not in list(Scope):
        raise UsageError(f"there is no scope {scope!r}; there are read, submit and admin")
    typer.echo(Keys(Root(root)).add(name, Scope(scope)))


@keys.command("list")
def list_keys(root: RootOption, as_json: JsonOption = False) -> None:
    """Print the keys; not their secrets, which nobody has kept."""
    from service.console import print_json, print_table
    from service.keys import Keys

    rows = [{name: value for name, value in asdict(key).items() if name != "digest"} for key in Keys(Root(root)).all()]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, {name: name for name in ("id", "name", "scope", "created")})


@keys.command("remove")
def remove_key(number: Annotated[str, typer.Argument(help="Id of the key.")], root: RootOption) -> None:
    """Let a key do nothing any more."""
    from service.keys import Keys

    Keys(Root(root)).remove(number)


def read_spec(path: Path, job: str | None) -> tuple[str, dict[str, Any]]:
    """The kind of job of a spec file, and what it says.

    Raises:
        SpecError: it cannot be read.
    """
    from workers.spec import read_toml

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([f"spec file {str(path)!r} cannot be read: {error}"]) from error
    values = read_toml(text, path.absolute().parent)
    return job or _kind(values), values


def _kind(values: Mapping[str, Any]) -> str:
    """The job that a spec is one of, by the table that only it has."""
    tables = {"occlude": "occlude", "invert": "invert", "sanity": "sanity", "models": "filters"}
    return next((job for table, job in tables.items() if table in values), "scan")


def submissions_of(root: str, address: str) -> "Submissions":
    """The submitted runs of a root, on the cluster at an address."""
    from service.clusters import RayCluster
    from service.submissions import Submissions

    return Submissions(Root(root), RayCluster(address))


def nowhere(root: Root) -> "Schedules":
    """The schedules of a root, for who only looks at them: no cluster is asked."""
    from service.clusters import RayCluster
    from service.schedules import Schedules
    from service.submissions import Submissions

    return Schedules(root, Submissions(root, RayCluster("http://127.0.0.1")))


def _live() -> tuple[str, ...]:
    from service.submissions import LIVE

    return LIVE


def _watched(submissions: "Submissions", run: str) -> "Status":
    """A run when it has ended; until then its progress is told, where it has changed."""
    before = ""
    while True:
        found = submissions.status(run)
        told = f"{found.state} {_progress(asdict(found.progress) if found.progress else None)} {found.error}".strip()
        if told != before:
            typer.echo(told, err=True)
        if found.state not in _live():
            return found
        before = told
        time.sleep(EVERY_S)


def _progress(told: Mapping[str, Any] | None) -> str:
    if not told:
        return ""
    count = f"{told['done']:,}" + (f" of {told['total']:,}" if told["total"] is not None else "")
    rate = f", {told['per_s']:,.1f}/s" if told["per_s"] else ""
    left = f", {told['left_s']:,.0f} s left" if told["left_s"] else ""
    rejects = f", {sum(told['rejects'].values()):,} rejected" if told["rejects"] else ""
    return f"{told['phase']} {count} {told['unit']}{rate}{left}{rejects}"


def _tell(found: "Status", *, as_json: bool) -> None:
    from service.console import print_json

    if as_json:
        print_json(asdict(found))
        return
    typer.echo(f"run      {found.run}")
    typer.echo(f"state    {found.state}" + (f", attempt {found.attempt}" if found.attempt else ""))
    for name, text in {
        "progress": _progress(asdict(found.progress) if found.progress else None),
        "error": found.error,
    }.items():
        if text:
            typer.echo(f"{name:8} {text}")


def _exit_code(submissions: "Submissions", found: "Status") -> int:
    """That of the run's last attempt; 0 of one that was published before."""
    from workers.store.attempts import Attempts

    ended = Attempts(submissions.root, found.run).ended(found.attempt) if found.attempt else None
    if ended is not None and ended.error:
        print(f"deconvoy: {ended.error}", file=sys.stderr)  # noqa: T201
    return ended.exit_code if ended is not None else int(found.state != "published")
