"""The examples run: every cell of the notebook, and the Streamlit dashboard with its choices."""

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.support import instrumented
from tests.support.published import CHANNELS, DEAD, publish
from workers.store.root import Root

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Root:
    root = Root(str(tmp_path_factory.mktemp("root")))
    publish(root)
    instrumented.occlude(root)
    return root


@pytest.fixture(autouse=True)
def _main(monkeypatch):
    """Streamlit replaces `__main__`, which processes that are started later would run."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


def evaluate(cell: str, names: dict[str, Any]) -> Any:
    """Run a cell; gives the value of its last line, as a notebook does."""
    lines = ast.parse(cell)
    if isinstance(last := lines.body[-1], ast.Expr):
        lines.body[-1] = ast.fix_missing_locations(ast.Assign([ast.Name("shown", ast.Store())], last.value, lineno=1))
    exec(compile(lines, "cell", "exec"), names)  # noqa: S102 - our own cells
    return names.pop("shown", None)


def test_every_cell_of_the_notebook_runs(root, monkeypatch):
    monkeypatch.setenv("DECONVOY_ROOT", root.url)
    notebook = json.loads((EXAMPLES / "atlas.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    shown = [evaluate(cell, names) for cell in cells]
    assert names["run"].id == "first" and shown[2]._repr_png_().startswith(b"\x89PNG")
    assert all(not cell.get("outputs") for cell in notebook["cells"])  # outputs are not committed


def test_the_dashboard_shows_channels_and_follows_its_choices(root, monkeypatch):
    monkeypatch.setattr("sys.argv", ["app.py", root.url])
    app = AppTest.from_file(str(EXAMPLES / "streamlit" / "app.py"), default_timeout=60).run()
    assert not app.exception and app.title[0].value == "fc of first"
    run, layer, _ = app.sidebar.selectbox
    assert run.options == ["first"] and layer.options == [*CHANNELS][::-1]
    layer.select("relu1").run()
    assert app.title[0].value == "relu1 of first"
    assert app.caption[0].value.startswith(
        f"{CHANNELS['relu1'] - 1} of {CHANNELS['relu1']} channels"
    )  # without the dead one
    assert DEAD not in set(app.dataframe[0].value.channel)
    app.sidebar.selectbox[2].select("cat").run()
    assert not app.exception and set(app.dataframe[0].value.label) == {"cat"}


def test_the_dashboard_of_an_empty_root_says_so(tmp_path, monkeypatch):
    empty = Root(str(tmp_path))
    instrumented.filters(empty)
    monkeypatch.setattr("sys.argv", ["app.py", empty.url])
    app = AppTest.from_file(str(EXAMPLES / "streamlit" / "app.py"), default_timeout=60).run()
    assert not app.exception and "holds no published scan" in app.info[0].value
