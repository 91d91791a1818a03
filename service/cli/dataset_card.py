"""The command `dataset-card`. Takes a root, writes the README.md by which the Hugging Face Hub shows its tables."""

from typing import Annotated

import typer

from service.cli.options import RootOption
from service.cli.terminal import echo
from workers.store.root import existing


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(dataset_card)


def dataset_card(
    root: RootOption,
    title: Annotated[str, typer.Option(help="Title of the dataset.")] = "Deconvoy atlas",
    license_id: Annotated[
        str | None, typer.Option("--license", help="License identifier of the Hub, such as cc-by-4.0; by default none.")
    ] = None,
    runs: Annotated[
        list[str] | None, typer.Option("--run", help="Run id; by default the newest 30 runs. Repeatable.")
    ] = None,
) -> None:
    """Write a dataset card, README.md, so that the viewer of the Hugging Face Hub shows the tables and their pictures.

    Each table is a subset, and each run a split. Run the command again after runs are published or removed; it replaces only a
    card that it has written itself.
    """
    from service.cli.running import format_count
    from service.query import dataset_card as cards

    store = existing(root)
    card = cards.make(store, title, license_id, runs or ())
    cards.write(store, card)
    echo(
        f"{root.rstrip('/')}/{cards.PATH}  {format_count(len(card.tables), 'table')}, {format_count(len(card.runs), 'run')}"
    )
