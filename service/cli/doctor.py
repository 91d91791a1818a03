"""The command `doctor`. Takes a root or none, checks the installation and what the root can do."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.options import Json
from service.cli.running import absolute
from service.cli.terminal import echo
from workers.errors import DeconvoyError

if TYPE_CHECKING:
    from service.control.doctor import Finding


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    root: Annotated[str | None, typer.Argument(help="Folder or fsspec URL of the root to check.")] = None,
    bench: Annotated[
        bool, typer.Option("--bench", help="Also measure how fast one actor scans on this machine.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check the installation, the devices, and whether a root can hold datasets. The exit code is 1 if a check fails."""
    from service.cli.console import print_json
    from service.control import doctor as checks
    from workers.store.root import Root

    findings = [checks.check_packages(), _check_devices()]
    if bench:
        findings += _measure_speed()
    if root is not None:
        findings += checks.check_root(Root(str(absolute(root))))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    for finding in () if as_json else findings:
        echo(f"{'ok' if finding.ok else 'FAILED':6}  {finding.check}: {finding.detail}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _measure_speed() -> "list[Finding]":
    """The speed of a scan on this machine, and of its parts."""
    from jobs import speed
    from jobs.ray import cluster
    from service.control.doctor import Finding

    device = cluster.resolve_device("auto")
    measured = speed.measure(device)
    share = f"{100 * measured.forward_share:.0f} % of the speed of the forward pass alone"
    rate = f"{measured.images / measured.seconds:,.1f} images/s, {share}"
    whole = f"one {device.upper()} actor, ResNet-18, photos of {speed.SIDE_PX} px: {rate}"
    parts = [
        Finding(f"{part.name} alone", True, f"{1000 * part.seconds / measured.images:,.2f} ms per image")
        for part in measured.parts
    ]
    return [Finding("scan", True, whole), *parts]


def _check_devices() -> "Finding":
    """The devices that a run on this machine would use."""
    from jobs.ray import cluster
    from service.control.doctor import Finding
    from workers.spec.parts import ResourcesSpec

    try:
        device = cluster.resolve_device("auto")
        count = cluster.initial_actors(ResourcesSpec(), device)
    except DeconvoyError as error:
        return Finding("devices", False, str(error))
    return Finding("devices", True, f"{count} {'GPU' if device == 'cuda' else 'CPU'} actor{'s' if count > 1 else ''}")
