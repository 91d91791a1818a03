"""The command `query class`. Takes a word, lists the channels whose top images the network assigns to such classes."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.options import AnyLayerOption, Json, LimitOption, RootOption, RunOption
from service.cli.querying import SHARE_HEADINGS, find_run, show
from service.cli.terminal import echo

if TYPE_CHECKING:
    from service.query.catalog import PublishedRun
    from service.query.predicted import PredictedClasses

CLASSES_SHOWN = 6


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("class")(predicted_class)


def predicted_class(  # noqa: PLR0913, PLR0917 - one parameter per flag
    word: Annotated[str, typer.Argument(help="Name of a class, or another word that finds classes.")],
    root: RootOption,
    classes: Annotated[
        str | None,
        typer.Option(
            help="File of class names and words, as for `scan`, that replaces those of the run. The run stays as it is."
        ),
    ] = None,
    layer: AnyLayerOption = None,
    limit: LimitOption = None,
    run: RunOption = None,
    as_json: Json = False,
) -> None:
    """List the channels with top images that the network assigns to this class, the largest share first.

    Among equal shares, the most selective channels come first; `query units` explains selectivity.

    Classes of ImageNet are also found by their hypernyms (broader words) in WordNet: dog finds every breed.
    """
    from service.query import predicted
    from service.query.telling import read_overview

    scan = find_run(root, run)
    result = predicted.predicted(scan, read_overview(scan), word, classes, layer)
    if not as_json:
        names = f"{', '.join(result.names[:CLASSES_SHOWN])}{', ...' if len(result.names) > CLASSES_SHOWN else ''}"
        echo(f"{len(result.names)} class{'es' if len(result.names) != 1 else ''}: {names}", err=True)
    rows = [{"layer": scan.layers_by_index[row.layer_index].name, **asdict(row)} for row in result.channels[:limit]]
    show(rows, SHARE_HEADINGS, as_json=as_json)
    if not as_json and (hint := _hint(scan, word, result)):
        echo(hint, err=True)


def _hint(run: "PublishedRun", word: str, result: "PredictedClasses") -> str:
    """What limits the answer, and the ways to another one; empty if the word is one of the words of its classes."""
    from service.query import other_searches

    if not result.has_words:
        return f"classes are searched by their names only: {other_searches.WORDS}, such as dog for each breed"
    if not result.is_exact:
        others = other_searches.describe(run, word)
        return f"no class is called exactly {word!r}; these have a word that contains it; other ways: {others}"
    return ""
