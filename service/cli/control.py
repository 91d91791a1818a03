"""The commands of the control plane. Takes words, submits runs, tells how they go, keeps keys."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.query import JsonOption, RootOption
from service.cli.terminal import complain, echo, echo_log
from service.control.addresses import from_environment
from workers.errors import UsageError
from workers.store.attempts import WAITING
from workers.store.root import Root, existing

if TYPE_CHECKING:
    from service.control.schedules import Schedules
    from service.control.statuses import Status
    from service.control.submissions import Submissions

EVERY_S = 1.0
TELL_S = 10.0  # a phase is told when it begins, and then so often

Address = Annotated[
    str,
    typer.Option(
        "--address",
        envvar="DECONVOY_ADDRESS",
        default_factory=from_environment,
        show_default=False,
        help="URL of a Ray dashboard, such as http://head:8265; without it RAY_API_SERVER_ADDRESS or RAY_ADDRESS.",
    ),
]
AnyAddress = Annotated[
    str | None,
    typer.Option(
        "--address", envvar="DECONVOY_ADDRESS", help="URL of a Ray dashboard; without it only the root is read."
    ),
]
RunWord = Annotated[str, typer.Argument(help="Run id.")]
SpecFile = Annotated[Path, typer.Argument(help="TOML file of a run.")]
JobOption = Annotated[str | None, typer.Option("--job", help="scan, occlude, invert, ...; seen from the file without.")]

keys = typer.Typer(no_args_is_help=True, help="Keys for the service.")


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (submit, status, logs, cancel):
        app.command()(command)
    app.add_typer(keys, name="keys")


def submit(  # noqa: PLR0913 - one parameter per flag
    *,
    spec: SpecFile,
    address: Address,
    job: JobOption = None,
    run: Annotated[str | None, typer.Option(help="Run id; wins over the file's.")] = None,
    fewer: Annotated[bool, typer.Option("--fewer", help="Go on with fewer actors where there is no room.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until it ends; the exit code is the run's.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Submit a run to a Ray cluster, or go on with one. Its spec and its progress are kept under its root."""
    from service.control import uploads
    from workers.spec.run import merged

    kind, values = read_spec(spec, job)
    more = {"run": run} | ({"resources": {"fewer": True}} if fewer else {})
    asked = merged(values, more)
    submissions = submissions_of(uploads.root_of(asked), address)
    uploads.check(asked, address)
    submissions.check_cluster(str(submissions.checked(kind, asked)["run"]))  # before anything is uploaded
    found = submissions.submit(kind, uploads.prepared(asked, address))
    if not wait:
        _tell(found, submissions.root, as_json=as_json)
        return
    found = _watched(submissions, found.run)
    _tell(found, submissions.root, as_json=as_json)
    code, why = _ending(submissions, found)
    if why:
        complain(why)
    raise typer.Exit(code)


def status(
    root: RootOption,
    address: AnyAddress = None,
    run: Annotated[str | None, typer.Argument(help="Run id; all runs without it.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Until it ends.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Tell how submitted runs go: by what is under the root, and by the cluster if one is named."""
    from service.cli.console import print_json, print_table

    submissions = submissions_of(existing(root), address)
    if run is not None:
        found = _watched(submissions, run) if watch else submissions.status(run)
        _tell(found, submissions.root, as_json=as_json)
        return
    rows = [asdict(each) for each in submissions.statuses()]
    if as_json:
        print_json(rows)
        return
    shown = [row | {"progress": _progress(row)} for row in rows]
    print_table(shown, {name: name for name in ("run", "job", "state", "attempt", "progress", "waits", "error")})


def logs(
    run: RunWord,
    root: RootOption,
    address: Address,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="As they come, until the run ends.")] = False,
) -> None:
    """Print what the last attempt at a run has printed."""
    submissions, shown, attempt = submissions_of(existing(root), address), 0, 0
    while True:
        found, text = submissions.status(run), submissions.logs(run)
        if found.attempt != attempt:  # it was submitted again
            shown, attempt = 0, found.attempt
        echo_log(text[shown:])
        shown = len(text)
        if not (follow and found.state in _live()):
            if not text:
                complain(f"the cluster at {address} has no log of run {run!r}, which is {found.state}")
            return
        time.sleep(EVERY_S)


def cancel(run: RunWord, root: RootOption, address: AnyAddress = None, as_json: JsonOption = False) -> None:
    """Stop a run, within ten seconds where no cluster is named; what it has finished stays, and submitting it again goes on."""
    submissions = submissions_of(existing(root), address)
    _tell(submissions.cancel(run), submissions.root, as_json=as_json)


@keys.command("add")
def add_key(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    root: RootOption,
    scope: Annotated[str, typer.Option(help="read, submit or admin; each lets do what those before it do.")] = "read",
) -> None:
    """Make a key and print it, this once."""
    from service.http.keys import Keys, Scope

    if scope not in list(Scope):
        raise UsageError(f"there is no scope {scope!r}; there are read, submit and admin")
    echo(Keys(Root(root)).add(name, Scope(scope)))


@keys.command("list")
def list_keys(root: RootOption, as_json: JsonOption = False) -> None:
    """Print the keys; not their secrets, which nobody has kept."""
    from service.cli.console import print_json, print_table
    from service.http.keys import Keys

    rows = [
        {name: value for name, value in asdict(key).items() if name != "digest"} for key in Keys(existing(root)).all()
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, {name: name for name in ("id", "name", "scope", "created")})


@keys.command("remove")
def remove_key(number: Annotated[str, typer.Argument(help="Id of the key.")], root: RootOption) -> None:
    """Let a key do nothing any more."""
    from service.http.keys import Keys

    Keys(existing(root)).remove(number)


def read_spec(path: Path, job: str | None) -> tuple[str, dict[str, Any]]:
    """The kind of job of a spec file, and what it says.

    Raises:
        SpecError: it cannot be read.
    """
    from workers.spec import toml

    values = toml.read_spec(path)
    return job or _kind(values), values


def _kind(values: Mapping[str, Any]) -> str:
    """The job that a spec is one of, by the table that only it has."""
    from workers.spec.instruments import SPECS

    tables = {"models": "filters"} | {job: job for job in SPECS if job not in ("scan", "filters")}
    return next((job for table, job in tables.items() if table in values), "scan")


def submissions_of(root: Root, address: str | None) -> "Submissions":
    """The submitted runs of a root, on the cluster at an address, or on none for who only looks."""
    from service.control.clusters import Nowhere, RayCluster
    from service.control.submissions import Submissions

    return Submissions(root, RayCluster(address) if address else Nowhere())


def nowhere(root: Root) -> "Schedules":
    """The schedules of a root, for who only looks at them: no cluster is asked."""
    from service.control.schedules import Schedules

    return Schedules(root, submissions_of(root, None))


def _live() -> tuple[str, ...]:
    from service.control.statuses import LIVE

    return LIVE


def _watched(submissions: "Submissions", run: str) -> "Status":
    """A run when it has ended; until then its progress is told, where it has changed."""
    before, told_at = None, 0.0
    while True:
        status = submissions.status(run)
        what = (status.state, status.error or status.waits, status.progress.phase if status.progress else "")
        if what != before or time.monotonic() - told_at >= TELL_S:
            echo(f"{status.state} {_progress(asdict(status))} {status.error or status.waits}".strip(), err=True)
            before, told_at = what, time.monotonic()
        if status.state not in _live():
            return status
        time.sleep(EVERY_S)


def _progress(status: Mapping[str, Any]) -> str:
    """How far a run is, or was; empty for one that is published, or has not begun its work."""
    progress = status["progress"]
    if not progress or status["state"] == "published" or progress["phase"] == WAITING:
        return ""
    count = f"{progress['done']:,}" + (f" of {progress['total']:,}" if progress["total"] is not None else "")
    rate = f", {progress['per_s']:,.1f}/s" if progress["per_s"] else ""
    left = f", {progress['left_s']:,.0f} s left" if progress["left_s"] else ""
    rejects = f", {sum(progress['rejects'].values()):,} rejected" if progress["rejects"] else ""
    return f"{progress['phase']} {count} {progress['unit']}{rate}{left}{rejects}"


def _tell(status: "Status", root: Root, *, as_json: bool) -> None:
    from service.cli import drawing
    from service.cli.console import print_json
    from service.query import catalog

    if as_json:
        print_json(asdict(status))
        return
    echo(f"run      {status.run}")
    echo(f"state    {status.state}" + (f", attempt {status.attempt}" if status.attempt else ""))
    for name, text in {
        "progress": _progress(asdict(status)),
        "error": status.error,
        "waits": status.waits,
        "look": drawing.next_look(catalog.find(root, status.run, None)) if status.state == "published" else "",
    }.items():
        if text:
            echo(f"{name:8} {text}")


def _ending(submissions: "Submissions", status: "Status") -> tuple[int, str]:
    """The exit code of a run that has ended, and why it is not 0.

    That of a published run is in its manifest, which is there before its attempt has said that it ended. An attempt that no
    cluster took is 1: the same may be asked again.
    """
    from jobs.run import outcome, publish
    from workers.store.attempts import NOT_TAKEN, Attempts

    manifest = publish.published(submissions.root, status.run)
    if manifest is not None:
        wrong = outcome.complaint(manifest)
        return outcome.TOO_MANY_REJECTS if wrong else 0, wrong
    ended = Attempts(submissions.root, status.run).ended(status.attempt)
    code = ended.exit_code if ended is not None else 1
    return 1 if code == NOT_TAKEN else code, status.error
