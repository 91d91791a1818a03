"""The command `report`. Takes a run id, writes the run to one HTML file."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import RootOption
from service.cli.running import write_text
from workers.store.root import Root


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


def report(
    run: Annotated[str, typer.Argument(help="Run id.")],
    root: RootOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="HTML file to write.")] = Path("report.html"),
    channels: Annotated[int, typer.Option(min=1, help="Number of channels shown per layer.")] = 12,
) -> None:
    """Write a run as one self-contained HTML file."""
    from service.atlas import report as reports
    from service.atlas.atlas import Atlas

    atlas = Atlas(Root(root))
    write_text(output, "report", reports.report(atlas, atlas.run(run), channels))
