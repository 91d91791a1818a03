"""The command `submit`. Takes a spec file and a cluster, submits a run, waits for it if asked to."""

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.options import Address, JobOption, Json, SpecFile
from service.cli.running import read_spec
from service.cli.submissions import print_status, submissions_of, wait_for_end
from service.cli.terminal import complain

if TYPE_CHECKING:
    from service.control.statuses import Status
    from service.control.submissions import Submissions


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(submit)


def submit(  # noqa: PLR0913 - one parameter per flag
    *,
    spec: SpecFile,
    address: Address,
    job: JobOption = None,
    run: Annotated[str | None, typer.Option(help="Run id; overrides the file's.")] = None,
    fewer: Annotated[
        bool, typer.Option("--fewer", help="Run with fewer actors if the cluster has no room for all of them.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the run to end and exit with its exit code.")] = False,
    as_json: Json = False,
) -> None:
    """Submit a run to a Ray cluster, or resume one. Its spec and progress are kept under its root."""
    from service.control import uploads
    from workers.spec.make import merged

    kind, values = read_spec(spec, job)
    more = {"run": run} | ({"resources": {"fewer": True}} if fewer else {})
    asked = merged(values, more)
    submissions = submissions_of(uploads.root_of(asked), address)
    uploads.check(asked, address)
    submissions.check_cluster(str(submissions.checked(kind, asked)["run"]))  # before anything is uploaded
    found = submissions.submit(kind, uploads.prepared(asked, address))
    if not wait:
        print_status(found, submissions.root, as_json=as_json)
        return
    found = wait_for_end(submissions, found.run)
    print_status(found, submissions.root, as_json=as_json)
    code, why = _ending(submissions, found)
    if why:
        complain(why)
    raise typer.Exit(code)


def _ending(submissions: "Submissions", status: "Status") -> tuple[int, str]:
    """The exit code of a run that has ended, and why it is not 0.

    That of a published run is in its manifest, which is there before its attempt has said that it ended. An attempt that no
    cluster took is 1: the same may be asked again.
    """
    from jobs.run import outcome, publish
    from workers.host.exit_codes import NOT_TAKEN
    from workers.store.attempts import Attempts

    manifest = publish.read_manifest(submissions.root, status.run)
    if manifest is not None:
        wrong = outcome.complaint(manifest)
        return outcome.TOO_MANY_REJECTS if wrong else 0, wrong
    ended = Attempts(submissions.root, status.run).ended(status.attempt)
    code = ended.exit_code if ended is not None else 1
    return 1 if code == NOT_TAKEN else code, status.error
