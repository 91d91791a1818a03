"""The dashboards of examples/: every query answers over the views of a root, and definitions name columns that there are."""

import json
import os
import re
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest
import yaml

from service.query import catalog, dialects
from service.query.dialects import Engine
from service.query.layers import read_layer
from tests.support import superset
from tests.support.published import CHANNELS, DEAD, IMAGES, K, commit_runs_row, publish
from workers.store.root import Root
from workers.store.tables.registry import TABLES

DASHBOARD = json.loads((superset.FOLDER.parent / "grafana" / "atlas.json").read_text())
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"]}
VARIABLES = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
CHOSEN = {"run": "first", "layer": "relu2", "channel": "3"}
# The keys that Superset's importer takes (superset/datasets/schemas.py, superset/databases/schemas.py); it refuses others.
COLUMN_KEYS = {"column_name", "extra", "verbose_name", "is_dttm", "is_active", "type", "advanced_data_type", "groupby",
               "filterable", "expression", "description", "python_date_format"}  # fmt: skip
METRIC_KEYS = {"metric_name", "verbose_name", "metric_type", "expression", "description", "d3format", "currency", "extra",
               "warning_text"}  # fmt: skip
DATASET_KEYS = {"table_name", "main_dttm_col", "description", "default_endpoint", "offset", "cache_timeout", "schema",
                "catalog", "sql", "params", "template_params", "filter_select_enabled", "fetch_values_predicate", "extra",
                "uuid", "columns", "metrics", "version", "database_uuid"}  # fmt: skip
CHART_KEYS = {"slice_name", "viz_type", "params", "uuid", "version", "dataset_uuid"}
DASHBOARD_KEYS = {"dashboard_title", "slug", "published", "uuid", "position", "metadata", "version"}
DATABASE_KEYS = {"database_name", "sqlalchemy_uri", "password", "cache_timeout", "expose_in_sqllab", "allow_run_async",
                 "allow_ctas", "allow_cvas", "allow_dml", "allow_csv_upload", "extra", "uuid", "version"}  # fmt: skip


@pytest.fixture(scope="module")
def connection(tmp_path_factory) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB with the views that `deconvoy views` writes."""
    root = Root(str(tmp_path_factory.mktemp("root")))
    for run, created in (("first", "2026-11-23T02:00:00+00:00"), ("second", "2026-11-24T02:00:00+00:00")):
        publish(root, run, created)
        commit_runs_row(root, run)
    with duckdb.connect() as opened:
        opened.execute(dialects.views(root, Engine.DUCKDB))
        yield opened


def chosen(query: str) -> str:
    """A query as Grafana sends it: `${name:sqlstring}` is the value in quotes."""
    return re.sub(r"\$\{(\w+):sqlstring\}", lambda match: f"'{CHOSEN[match[1]]}'", query)


def rows(connection: duckdb.DuckDBPyConnection, title: str) -> list[dict[str, Any]]:
    """The rows of a panel."""
    [target] = PANELS[title]["targets"]
    result = connection.execute(chosen(target["rawSql"]))
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


@pytest.mark.parametrize("title", PANELS)
def test_every_panel_shows_rows_and_names_its_columns(connection, title):
    shown, panel = rows(connection, title), PANELS[title]
    assert shown and "$" not in chosen(panel["targets"][0]["rawSql"])
    named = [each["matcher"]["options"] for each in panel["fieldConfig"]["overrides"]]
    named += [panel["options"]["xField"]] if "xField" in panel["options"] else []
    assert {*named} <= shown[0].keys() and panel["description"]
    assert all(panel["datasource"] == each["datasource"] == {"type": "motherduck-duckdb-datasource", "uid": "${source}"}
               for each in panel["targets"])  # fmt: skip


@pytest.mark.parametrize(
    ("name", "values"),
    [("run", ["second", "first"]), ("layer", list(CHANNELS)), ("channel", list(range(CHANNELS["relu2"])))],
)
def test_variables_offer_runs_layers_and_channels(connection, name, values):
    assert [value for (value,) in connection.execute(chosen(VARIABLES[name]["query"])).fetchall()] == values


def test_numbers_of_panels_are_those_of_the_root(connection):
    numbers = {title: next(iter(rows(connection, title)[0].values())) for title in ("Images", "Rejects", "Channels")}
    assert numbers == {"Images": IMAGES, "Rejects": 1, "Channels": sum(CHANNELS.values())}
    assert rows(connection, "Dead channels") == [{"dead": len(CHANNELS)}]
    assert rows(connection, "Rejects by reason") == [{"reason": "damaged", "images": 1}]
    layers = {row["layer"]: row["dead"] for row in rows(connection, "Layers")}
    assert layers == {layer: 1 / channels for layer, channels in CHANNELS.items()} and [*layers] == [*CHANNELS]
    shares = {row["share"]: row["channels"] for row in rows(connection, "Channels by share of images")}
    assert shares == {"0 %": 1, "90 %": CHANNELS["relu2"] - 1}
    selective = [row["channel"] for row in rows(connection, "Most selective channels")]
    assert selective == [each for each in reversed(range(CHANNELS["relu2"])) if each != DEAD]
    assert {(row["label"], row["share"]) for row in rows(connection, "Channels with one label")} == {("cat", 1.0)}
    assert [row["score"] for row in rows(connection, "Top images of a channel")] == [40.0 - rank for rank in range(K)]


def test_panels_do_not_overlap():
    taken = [
        (x, y)
        for panel in PANELS.values()
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(taken) == len({*taken}) and max(x for x, _ in taken) == 23


def test_the_commands_of_the_documents_make_a_database_and_an_archive(tmp_path):
    publish(Root(str(tmp_path / "deconvoy-demo" / "atlas")))
    commit_runs_row(Root(str(tmp_path / "deconvoy-demo" / "atlas")), "first")
    (tmp_path / "examples").symlink_to(superset.FOLDER.parent)
    page = (superset.FOLDER.parents[1] / "docs" / "dashboards.md").read_text()
    [block] = re.findall(
        r"^```console\n(.*?)^```", page.split("\n## Superset")[1].split("\n## ")[0], re.MULTILINE | re.DOTALL
    )
    script = block.replace("$ deconvoy", f"{sys.executable} -m deconvoy").replace("$ python", sys.executable)
    environment = {**os.environ, "PYTHONPATH": str(superset.FOLDER.parents[1])}
    subprocess.run(["/bin/sh", "-ec", script], cwd=tmp_path, env=environment, check=True, capture_output=True)
    with duckdb.connect(str(tmp_path / "atlas.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT DISTINCT run FROM units").fetchall() == [("first",)]
    names = zipfile.ZipFile(tmp_path / "superset.zip").namelist()
    assert {name.split("/", 1)[1] for name in names if not name.endswith("/")} == {*superset.files()}


@pytest.mark.parametrize("path", superset.files())
def test_the_committed_definitions_of_superset_are_the_tables(path):
    assert (superset.FOLDER / path).read_text() == superset.files()[path], "python -m tests.support.superset"


def definition(path: str) -> Any:
    return yaml.safe_load((superset.FOLDER / path).read_text())


def test_the_database_and_the_metadata_are_what_superset_takes():
    assert definition("metadata.yaml")["type"] == "Dashboard" and definition("metadata.yaml")["version"] == "1.0.0"
    database = definition("databases/Deconvoy.yaml")
    assert database.keys() <= DATABASE_KEYS and database["version"] == "1.0.0" and uuid.UUID(database["uuid"])
    assert database["extra"].keys() <= {"engine_params"} and database["database_name"]


def source(name: str) -> str:
    """The relation of a dataset, whose computed columns are part of it."""
    relation = f"({superset.CHANNELS_SQL})" if name == "channels" else name
    computed = "".join(f", {superset.COMPUTED[each][1]} AS {superset.COMPUTED[each][0]}" for each in [name]
                       if each in superset.COMPUTED)  # fmt: skip
    return f"(SELECT *{computed} FROM {relation})"  # noqa: S608


@pytest.mark.parametrize("name", superset.METRICS)
def test_a_dataset_of_superset_has_columns_and_metrics_that_answer(connection, name):
    dataset = definition(f"datasets/Deconvoy/{name}.yaml")
    assert dataset.keys() <= DATASET_KEYS and dataset["version"] == "1.0.0" and dataset["table_name"] == name
    assert (name in TABLES) is not bool(dataset["sql"])
    assert dataset["database_uuid"] == definition("databases/Deconvoy.yaml")["uuid"] != dataset["uuid"]
    assert all(column.keys() <= COLUMN_KEYS for column in dataset["columns"])
    assert all(metric.keys() <= METRIC_KEYS for metric in dataset["metrics"])
    described = {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {source(name)}").fetchall()}  # noqa: S608
    assert {column["column_name"]: column["type"] for column in dataset["columns"]} == described
    for metric in dataset["metrics"]:
        [(value,)] = connection.execute(f"SELECT {metric['expression']} FROM {source(name)}").fetchall()  # noqa: S608 - our own
        assert value is not None or metric["metric_name"] == "images_per_s"  # of runs that were not timed


def test_a_chart_of_superset_names_columns_and_metrics_of_its_dataset():
    for title, (table, _, settings) in superset.CHARTS.items():
        chart = definition(superset.chart_path(title))
        dataset = definition(f"datasets/Deconvoy/{table}.yaml")
        assert chart.keys() == CHART_KEYS and chart["dataset_uuid"] == dataset["uuid"] and chart["params"] == settings
        columns = {column["column_name"] for column in dataset["columns"]}
        named = [settings["x_axis"]] if "x_axis" in settings else []
        named += [name for key in ("groupby", "columns", "all_columns") for name in settings.get(key, ())]
        named += [each["subject"] for each in settings.get("adhoc_filters", ())]
        assert named and {*named} <= columns
        metrics = {metric["metric_name"] for metric in dataset["metrics"]}
        assert {*settings.get("metrics", ())} <= metrics
        assert settings.get("x_axis_sort", named[0]) in metrics | columns


def test_the_dashboard_of_superset_places_every_chart_once():
    dashboard = definition("dashboards/Deconvoy.yaml")
    assert dashboard.keys() == DASHBOARD_KEYS
    position = dashboard["position"]
    boxes = {key: box for key, box in position.items() if key != "DASHBOARD_VERSION_KEY"}
    assert all(box["id"] == key for key, box in boxes.items())
    children = [child for box in boxes.values() for child in box["children"]]
    assert sorted(children) == sorted(boxes.keys() - {"ROOT_ID"})
    assert all(box["parents"][-1] in boxes and key in boxes[box["parents"][-1]]["children"]
               for key, box in boxes.items() if key != "ROOT_ID")  # fmt: skip
    charts = [box["meta"]["uuid"] for box in boxes.values() if box["type"] == "CHART"]
    assert sorted(charts) == sorted(definition(superset.chart_path(title))["uuid"] for title in superset.CHARTS)
    rows = [
        [boxes[child]["meta"]["width"] for child in box["children"]] for box in boxes.values() if box["type"] == "ROW"
    ]
    assert all(sum(widths) == 12 for widths in rows)
    [scan] = dashboard["metadata"]["native_filter_configuration"]
    assert scan["targets"][0]["datasetUuid"] == definition("datasets/Deconvoy/units.yaml")["uuid"]


def test_purity_in_superset_is_that_of_the_atlas(tmp_path):
    labels = ["cat", "dog", "dog", "cat", "owl", "ant", None, "cat", "fox", None, None, "dog", "owl"]
    publish(root := Root(str(tmp_path)), k=3, named=[(f"{n:03d}.png", label) for n, label in enumerate(labels)])
    commit_runs_row(root, "first")
    with duckdb.connect() as opened:
        opened.execute(dialects.views(root, Engine.DUCKDB))
        rows = opened.execute(f"SELECT layer, channel, label, purity FROM ({superset.CHANNELS_SQL})").fetchall()  # noqa: S608
    expected = {
        (layer, each.channel): (each.label, each.purity)
        for layer in CHANNELS
        for each in read_layer(catalog.find(root, "first"), layer).channels
    }
    assert {(layer, channel): (label, purity) for layer, channel, label, purity in rows} == expected
    assert {(None, 0.0), ("dog", 2 / 3)} <= {*expected.values()}
