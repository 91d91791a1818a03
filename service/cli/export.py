"""The command `export`. Takes run ids, writes the atlas as a folder of files."""

import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.options import Json, RootOption
from service.cli.terminal import echo
from workers.errors import UsageError
from workers.store.root import Root

if TYPE_CHECKING:
    from service.http.site import Site, Size


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(export)


def export(  # noqa: PLR0913, PLR0917 - one parameter per flag
    runs: Annotated[list[str], typer.Argument(help="Run ids.")],
    root: RootOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write; it must be empty or new.")] = Path(
        "site"
    ),
    layers: Annotated[
        list[str] | None, typer.Option(help="Layer name or glob; by default all layers. Repeatable.")
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="Only this many channels of each layer: the most selective ones.")
    ] = None,
    embed: Annotated[
        bool, typer.Option("--embed", help="Also write a card for each channel, which other pages can embed.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print how large the site would be, and write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write runs as a site of plain files, which any web server can host and a browser can open from a folder.

    With --layers or --top, pages of images and labels are left out, because they list channels of all layers.
    """
    from service.cli.console import print_json
    from service.http import exporting

    if not dry_run:
        _require_empty(output)
    site = exporting.site(Root(root), runs, layers or (), top, has_cards=embed)
    size = site.estimate()
    if not as_json:
        echo(f"{'would write' if dry_run else 'writing'} {_shown(size, 'about ')}")
    if not dry_run:
        try:
            size = _write(site, output)
        except OSError as error:
            raise UsageError(f"output {str(output)!r} cannot be written: {error.strerror or error}") from error
    if as_json:
        print_json(
            {
                "output": None if dry_run else str(output),
                "pages": size.pages,
                "pictures": size.pictures,
                "bytes": size.bytes,
            }
        )
    elif not dry_run:
        echo(f"{output / 'index.html'}  {_shown(size)}")


def _write(site: "Site", output: Path) -> "Size":
    """Write the site to a folder beside the output, and then move it there."""
    temporary = output.with_name(f".{output.name}.{uuid.uuid4().hex}")
    try:
        size = site.write(temporary)
        temporary.rename(output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return size


def _shown(size: "Size", about: str = "") -> str:
    from service.cli.running import format_count, format_size

    return f"{format_count(size.pages, 'page')} and {format_count(size.pictures, 'picture')}, {about}{format_size(size.bytes)}"


def _require_empty(folder: Path) -> None:
    """Require a folder without files.

    Raises:
        UsageError: there are some, or it is no folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"output {str(folder)!r} exists and is not an empty folder; give a new one")
