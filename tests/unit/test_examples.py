"""The examples run: every cell of the notebook, and the Streamlit dashboard with its choices."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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


def dashboard(root: Root, *choices: str) -> list[dict[str, Any]]:
    """The dashboard as it opens, and after each choice."""
    command = [sys.executable, "-m", "tests.support.dashboard", root.url, *choices]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_dashboard_shows_channels_and_follows_its_choices(root):
    opened, of_layer, of_label = dashboard(root, "1=relu1", "2=cat")
    assert [page["exceptions"] for page in (opened, of_layer, of_label)] == [[], [], []]
    assert opened["title"] == ["fc of first"] and of_layer["title"] == ["relu1 of first"]
    assert opened["options"][:2] == [["first"], [*CHANNELS][::-1]]
    alive = CHANNELS["relu1"] - 1  # without the dead one
    assert of_layer["caption"][0].startswith(f"{alive} of {CHANNELS['relu1']} channels")
    assert DEAD not in of_layer["channels"][0]
    assert set(of_label["labels"][0]) == {"cat"}


def test_the_dashboard_of_an_empty_root_says_so(tmp_path):
    empty = Root(str(tmp_path))
    instrumented.filters(empty)
    [opened] = dashboard(empty)
    assert not opened["exceptions"] and "has no published scans" in opened["info"][0]
