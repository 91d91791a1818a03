"""The command `demo`. Takes a folder, scans sample photographs into it and draws each layer."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from service.cli import drawing
from service.cli.options import Json
from service.cli.running import parse_number, print_outcome, run_with_progress
from service.cli.terminal import echo


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    root: Annotated[str, typer.Option(help="Folder to write to.")] = "deconvoy-demo",
    actors: Annotated[str, typer.Option(help="Number of actors; auto starts one per GPU, or one per CPU.")] = "auto",
    as_json: Json = False,
) -> None:
    """Scan sample photographs with the bundled network and draw its channels."""
    from jobs.demo import demo as run_demo
    from service.cli.console import print_json
    from workers.store.root import Root

    folder = Path(root).absolute()
    Root(str(folder)).check_writable()
    outcome = run_with_progress(lambda watch: run_demo(str(folder), watch, parse_number(actors) or "auto"))
    sheets = drawing.draw_all(Root(outcome.root), outcome.run, folder)
    if as_json:
        print_json({**asdict(outcome), "sheets": sheets})
        return
    print_outcome(outcome)
    echo(f"sheets  {folder}/ ({', '.join(Path(sheet).name for sheet in sheets)})")
    echo("next    deconvoy scan --model torchvision://resnet18 --corpus FOLDER --root ROOT")
