"""The command `query classes`. Takes a scan, lists the classes of its network, or writes them to a file for `--classes`."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import Json, LimitOption, RootOption, RunOption
from service.cli.querying import find_run, show
from service.cli.terminal import echo
from workers.errors import UsageError

HEADINGS = {"index": "index", "name": "name", "images": "images", "words": "found by"}
WORDS_SHOWN = 6


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("classes")(classes)


def classes(
    root: RootOption,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="File to write instead, for --classes: a line for each class, to be edited."
        ),
    ] = None,
    limit: LimitOption = None,
    run: RunOption = None,
    as_json: Json = False,
) -> None:
    """List the classes of a scan's network: how many images it assigns to each, and the words that find it."""
    from service.query.predicted import require_classes

    known = require_classes(find_run(root, run))
    if output is not None:
        _write(output, [f"{each.name}\t{','.join(each.words)}".strip() for each in known])
        return
    rows = [{**vars(each), "index": index} for index, each in enumerate(known)][:limit]
    if not as_json:
        rows = [{**row, "words": _first(row["words"])} for row in rows]
    show(rows, HEADINGS, as_json=as_json)


def _first(words: tuple[str, ...]) -> str:
    return ", ".join(words[:WORDS_SHOWN]) + (", ..." if len(words) > WORDS_SHOWN else "")


def _write(output: Path, lines: list[str]) -> None:
    try:
        output.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"output {str(output)!r} cannot be written: {error.strerror or error}") from error
    echo(str(output))
