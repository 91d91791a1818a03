"""Spark over the views that `deconvoy views --for spark` writes: every value is DuckDB's. `make engines` installs Spark."""

import csv
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from service.cli.main import app
from service.control import labelling
from service.query import catalog, dialects, sql
from service.query.dialects import Engine
from tests.support.published import commit_runs_row, publish
from workers.store.columns import IMAGE
from workers.store.root import Root
from workers.store.tables.registry import TABLES

PYTHON = os.environ.get("DECONVOY_SPARK") or (sys.executable if importlib.util.find_spec("pyspark") else "")
SHELL = Path(__file__).with_name("spark_shell.py")
if not PYTHON or not shutil.which("java"):
    pytest.skip("needs Java and pyspark: make engines", allow_module_level=True)

NAMES = ("root", "it's [a] *b? {c}", "b\\s ${x}; -- #%20,'")
RUNS = {"today": "2026-11-23T02:00:00+00:00", "now.1_-x": "2026-11-24T02:00:00+00:00"}
Ask = Callable[[str], Any]


@pytest.fixture(scope="module")
def ask(tmp_path_factory) -> Iterator[Ask]:
    """Sends a statement to one Spark, and returns its rows."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    folder = tmp_path_factory.mktemp("spark")
    with subprocess.Popen([Path(PYTHON).absolute(), SHELL], cwd=folder, text=True, **pipes) as shell:

        def ask(statement: str) -> Any:
            shell.stdin.write(json.dumps(statement) + "\n")
            shell.stdin.flush()
            rows = json.loads(shell.stdout.readline())
            assert isinstance(rows, list), f"{statement}: {rows}"
            return rows

        yield ask
        shell.stdin.close()


@pytest.fixture(params=NAMES)
def root(request, tmp_path) -> Root:
    root = Root(str(tmp_path / request.param))
    for run, created in RUNS.items():
        publish(root, run, created, predicted=[(3, "cat"), (5, "dog")])
        commit_runs_row(root, run)
    return root


def create(ask: Ask, root: Root) -> list[str]:
    """Create the views, and return their names."""
    lines = [line for line in dialects.views(root, Engine.SPARK).splitlines() if not line.startswith("--")]
    for line in lines:
        ask(line.removesuffix(";"))
    return [line.split(" VIEW ")[1].split(" ")[0] for line in lines]


def values(names: list[str], kinds: list[pa.DataType], quote: str, pictures: str, times: str) -> str:
    """The columns of a table, with hashes in place of pictures, and microseconds in place of times."""
    forms = {IMAGE: pictures, pa.timestamp("us", "UTC"): times}
    return ", ".join(
        forms.get(kind, "{}").format(f"{quote}{name}{quote}") for name, kind in zip(names, kinds, strict=True)
    )


def in_spark(ask: Ask, table: str) -> list[str]:
    names, kinds = [*TABLES[table].schema.names, "run"], [*TABLES[table].schema.types, pa.string()]
    columns = values(names, kinds, "`", "sha2({}.bytes, 256)", "unix_micros({})")
    return sorted(map(str, ask(f"SELECT {columns} FROM {table}")))  # noqa: S608


def in_duckdb(root: Root, table: str) -> list[str]:
    names, kinds = [*TABLES[table].schema.names, "run"], [*TABLES[table].schema.types, pa.string()]
    columns = values(names, kinds, '"', "sha256({}.bytes)", "epoch_us({})")
    return sorted(str(list(row)) for row in sql.ask(root, f"SELECT {columns} FROM {table}").rows)  # noqa: S608 - our own


def test_every_value_of_every_view_is_duckdbs(ask, root):
    assert {"images_files", "images", "patches", "runs"} <= {*create(ask, root)}
    tables = catalog.find(root, "today").tables.keys() | {"runs"}
    counts = {table: len(in_spark(ask, table)) for table in tables}
    assert {table: rows for table in tables if (rows := in_spark(ask, table)) != in_duckdb(root, table)} == {}
    assert min(counts.values()) >= len(RUNS) and ask("SELECT run FROM runs ORDER BY run") == [
        [run] for run in sorted(RUNS)
    ]


def test_views_have_the_labels_that_runs_were_given(ask, root, tmp_path):
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image_id", "label"), ("cat0/000.png", "tiger")])
    labelling.relabel(catalog.find(root, "today"), str(tmp_path / "labels.csv"))
    assert {"labels", "top_as_scanned"} <= {*create(ask, root)}
    assert in_spark(ask, "top") == in_duckdb(root, "top")
    query = "SELECT DISTINCT run, label FROM {} WHERE image_id = 'cat0/000.png' ORDER BY run"
    assert ask(query.format("top")) == [["now.1_-x", "cat"], ["today", "tiger"]]
    assert ask(query.format("top_as_scanned")) == [["now.1_-x", "cat"], ["today", "cat"]]
    labelling.reset(root, "today")
    create(ask, root)
    assert ask(query.format("top")) == [["now.1_-x", "cat"], ["today", "cat"]]


def test_removed_runs_disappear_and_new_ones_appear_once_the_statements_are_repeated(ask, root):
    publish(root, "unfinished")  # its row in `runs` is still missing
    create(ask, root)
    CliRunner().invoke(app, ["rm", "today", "--root", root.url], catch_exceptions=False)
    runs = "SELECT DISTINCT run FROM {} ORDER BY run"
    assert all(ask(runs.format(table)) == [["now.1_-x"]] for table in ("runs", "units", "patches"))
    commit_runs_row(root, "unfinished")
    create(ask, root)
    assert ask(runs.format("units")) == [["now.1_-x"], ["unfinished"]]
