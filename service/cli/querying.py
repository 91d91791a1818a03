"""What the commands `query ...` share. Takes a root and a run id, gives the run; takes rows, prints them."""

from typing import TYPE_CHECKING, Any

from service.cli.terminal import echo
from workers.errors import RunError
from workers.kinds import Kind
from workers.store.root import Root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.query.catalog import PublishedRun

SHARE_HEADINGS = {
    "layer": "layer",
    "channel": "channel",
    "images": "images",
    "top": "of",
    "selectivity": "selectivity",
}


def find_run(root: str, run: str | None, kind: str | None = Kind.SCAN, *, has_corpus: bool = False) -> "PublishedRun":
    """The run with this id, or the default. A line on standard error names the default if there are other runs of its kind.

    Args:
        root: the root.
        run: its id; None for the default.
        kind: its kind; None for any.
        has_corpus: whether the default must be a run over a corpus.

    Raises:
        RunError: there is no such run.
    """
    from service.query import catalog

    store = Root(root)
    if run is not None:
        return catalog.find(store, run, kind)
    default = catalog.find_default(store) if kind == Kind.SCAN else None
    published = [run for run in catalog.of_kind(store, kind) if run.corpus or not has_corpus]
    if not published:
        raise RunError(f"no published run under root {root} has a corpus")
    newest, *others = published
    which = f"the newest of {len(others) + 1} runs{f' of kind {kind}' if kind else ''}"
    chosen, why = (default, "the root's default") if default else (newest, which)
    if others:
        echo(f"run {chosen.run}, {why}; --run selects another", err=True)
    return chosen


def show(rows: "Sequence[dict[str, Any]]", columns: dict[str, str], *, as_json: bool) -> None:
    """Print rows as one JSON value, or some of their columns as a table; a column that a row lacks is empty."""
    from service.cli.console import print_json, print_table

    if as_json:
        print_json(rows)
    else:
        print_table([dict.fromkeys(columns) | row for row in rows], columns)
