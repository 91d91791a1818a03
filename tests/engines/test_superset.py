"""Superset imports the archive of docs/dashboards.md, and returns DuckDB's values. `make engines` installs Superset."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from service.query import dialects
from service.query.dialects import Engine
from tests.support import superset
from tests.support.published import CHANNELS, commit_runs_row, publish
from workers.store.root import Root

PYTHON = os.environ.get("DECONVOY_SUPERSET", "")
SHELL = Path(__file__).with_name("superset_shell.py")
if not PYTHON:
    pytest.skip("needs Superset: make engines", allow_module_level=True)

CONFIG = """
SECRET_KEY = "of-a-test-{folder}"
SQLALCHEMY_DATABASE_URI = "sqlite:///{folder}/superset.db"
WTF_CSRF_ENABLED = False
"""
ADMINISTRATOR = ["--username=admin", "--password=admin", "--firstname=A", "--lastname=B", "--email=a@example.org"]


@pytest.fixture(scope="module")
def connection(tmp_path_factory) -> Iterator[duckdb.DuckDBPyConnection]:
    """The views in DuckDB's memory."""
    root = Root(str(tmp_path_factory.mktemp("root")))
    for run, created in (("first", "2026-11-23T02:00:00+00:00"), ("second", "2026-11-24T02:00:00+00:00")):
        publish(root, run, created, images_per_s=40.0)
        commit_runs_row(root, run)
    with duckdb.connect() as opened:
        opened.execute(dialects.views(root, Engine.DUCKDB))
        (Path(root.url) / "views.sql").write_text(dialects.views(root, Engine.DUCKDB))
        opened.execute(f"SET VARIABLE views = '{root.url}/views.sql'")
        yield opened


@pytest.fixture(scope="module")
def imported(connection, tmp_path_factory) -> dict[str, Any]:
    """What Superset shows once the archive is imported."""
    folder = tmp_path_factory.mktemp("superset")
    (folder / "config.py").write_text(CONFIG.format(folder=folder))
    environment = {**os.environ, "SUPERSET_CONFIG_PATH": str(folder / "config.py"), "FLASK_APP": "superset"}
    environment |= {"HOME": str(folder), "SUPERSET_HOME": str(folder)}

    def run(*words: str | Path) -> None:
        done = subprocess.run(
            [Path(PYTHON).absolute(), *words], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]

    [(views,)] = connection.execute("SELECT getvariable('views')").fetchall()
    run("-c", f"import duckdb; duckdb.connect('atlas.duckdb').execute(open({views!r}).read())")
    for path, text in superset.files().items():
        (folder / "superset" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "superset" / path).write_text(text.replace("/data/atlas.duckdb", f"{folder}/atlas.duckdb"))
    run("-m", "zipfile", "-c", "superset.zip", "superset/")
    for words in (["db", "upgrade"], ["init"], ["fab", "create-admin", *ADMINISTRATOR]):
        run(Path(PYTHON).absolute().with_name("superset"), *words)
    run(SHELL, "superset.zip", "shown.json")
    return json.loads((folder / "shown.json").read_text())


def source(name: str) -> str:
    return f"({superset.CHANNELS_SQL})" if name == "channels" else name


def test_every_dataset_has_all_rows_and_columns(connection, imported):
    assert imported["rows"].keys() == superset.METRICS.keys()
    for name, rows in imported["rows"].items():
        [(count,)] = connection.execute(f"SELECT count(*) FROM {source(name)}").fetchall()  # noqa: S608 - our own
        assert len(rows) == count > 0, name


def test_every_metric_is_duckdbs(connection, imported):
    for name, metrics in superset.METRICS.items():
        [row] = connection.execute(f"SELECT {', '.join(metrics.values())} FROM {source(name)}").fetchall()  # noqa: S608
        expected = dict(zip(metrics, row, strict=True))
        assert imported["metrics"][name] == [pytest.approx(expected, rel=1e-12)], name  # sums in any order


def test_the_dashboard_has_its_charts_and_they_have_rows(imported):
    assert {title: {*charts} for title, charts in imported["dashboards"].items()} == {"Deconvoy": {*superset.CHARTS}}
    charts = imported["charts"]
    assert {row["run"] for row in charts["Runs"]} == {"first", "second"}
    assert charts["Rejects by reason"] == [{"reason": "damaged", "count": 2}]
    shares = {row["layer_in_order"]: row["dead_share"] for row in charts["Dead and selective channels"]}
    assert {re.sub("^[0-9]{3} ", "", layer): share for layer, share in shares.items()} == {
        layer: 1 / channels for layer, channels in CHANNELS.items()
    }
    assert len(charts["Purity of channels"]) == sum(channels - 1 for channels in CHANNELS.values())
    [labels] = charts["Label of each channel's strongest image"]
    assert labels["label"] == "cat" and labels["channels"] > 0
