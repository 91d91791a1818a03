"""The command `submit`. Takes a spec file and a cluster, submits a run, and waits for its end with --wait."""

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
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the run ends, then exit with its exit code.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Submit a run to a Ray cluster, or resume one. Its spec and progress are kept under its root."""
    from service.control import uploads
    from service.control.submissions import run_of
    from workers.spec.make import merged

    kind, values = read_spec(spec, job)
    values = merged(values, {"run": run} | ({"resources": {"fewer": True}} if fewer else {}))
    submissions = submissions_of(uploads.root_of(values), address)
    uploads.check(values, address)
    submissions.check_cluster(run_of(submissions.parse_spec(kind, values)))  # before anything is uploaded
    status = submissions.submit(kind, uploads.upload(values, address))
    if not wait:
        print_status(status, submissions.root, as_json=as_json)
        return
    status = wait_for_end(submissions, status.run)
    print_status(status, submissions.root, as_json=as_json)
    code, reason = _exit_code(submissions, status)
    if reason:
        complain(reason)
    raise typer.Exit(code)


def _exit_code(submissions: "Submissions", status: "Status") -> tuple[int, str]:
    """The exit code of a run that has ended, and the reason if it is not 0.

    The code of a published run comes from its manifest, which is written before the attempt records its end. If no cluster
    accepted the attempt, the code is 1: the same command may succeed later.
    """
    from jobs.run import outcome, publish
    from workers.host.exit_codes import NOT_TAKEN
    from workers.store.attempts import Attempts

    manifest = publish.read_manifest(submissions.root, status.run)
    if manifest is not None:
        complaint = outcome.complaint(manifest)
        return outcome.TOO_MANY_REJECTS if complaint else 0, complaint
    ended = Attempts(submissions.root, status.run).ended(status.attempt)
    code = ended.exit_code if ended is not None else 1
    return 1 if code == NOT_TAKEN else code, status.error
