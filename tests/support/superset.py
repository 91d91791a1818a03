"""Superset's dashboard over DuckDB views, examples/superset. Takes the tables, writes files in Superset's format of exports.

python -m tests.support.superset
"""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from service.query import derived
from workers.store.columns import IMAGE
from workers.store.tables.registry import TABLES

FOLDER = Path(__file__).parents[2] / "examples" / "superset"
VERSION = "1.0.0"
TIMESTAMP = "2026-12-01T00:00:00+00:00"
NAMESPACE = uuid.UUID("5f0d3c1e-6f0b-4d6a-9a53-2f7c1a1d8e52")
# Of each table its metrics, by name.
METRICS: Mapping[str, Mapping[str, str]] = {
    "runs": {"count": "COUNT(*)", "images": "SUM(images)", "images_per_s": "AVG(images_per_s)"},
    "images": {"count": "COUNT(*)", "labels": "COUNT(DISTINCT label)"},
    "rejects": {"count": "COUNT(*)"},
    "units": {
        "count": "COUNT(*)",
        "dead_share": "AVG(CAST(dead AS INTEGER))",
        "selective_share": "AVG(CAST(active_share < 0.05 AND NOT dead AS INTEGER))",
        "active_share_mean": "AVG(active_share)",
        "max_score": "MAX(max)",
    },
    "channels": {"count": "COUNT(*)", "purity_mean": "AVG(purity)"},
    "top": {"count": "COUNT(*)", "channels": "COUNT(DISTINCT (run, layer, channel))", "best_score": "MAX(score)"},
}
_IN_ORDER = (
    "layer_in_order",
    "lpad(CAST(layer_index AS VARCHAR), 3, '0') || ' ' || layer",
    "layer, after its layer_index, so that charts sort layers by depth",
)
# Of each table its columns that Superset computes: name, expression and description.
COMPUTED: Mapping[str, tuple[str, str, str]] = {"units": _IN_ORDER, "channels": _IN_ORDER}
CHANNELS_SQL = "SELECT * FROM purity"  # a dataset that is a query: a computed view
CHANNELS = pa.schema(
    [
        *(TABLES["top"].schema.field(name) for name in ("layer", "layer_index", "channel")),
        pa.field("label", pa.string(), metadata={"doc": derived.DOCS["label"]}),
        *(pa.field(name, pa.float64(), metadata={"doc": derived.DOCS[name]}) for name in ("purity", "selectivity")),
    ]
)
_BAR: Mapping[str, Any] = {"viz_type": "echarts_timeseries_bar", "xAxisForceCategorical": True, "row_limit": 1000}
_SHARES: Mapping[str, Any] = {"y_axis_format": ".0%", "x_axis_sort": "layer_in_order", "x_axis_sort_asc": True}
# Of each chart its table, its size on the dashboard (of 12 columns, in rows), and its settings, by title.
CHARTS: Mapping[str, tuple[str, tuple[int, int], Mapping[str, Any]]] = {
    "Runs": (
        "runs",
        (12, 35),
        {
            "viz_type": "table",
            "query_mode": "raw",
            "all_columns": ["created", "run", "job", "images", "rejects", "layers", "channels", "images_per_s"],
            "show_cell_bars": False,
            "column_config": {"images_per_s": {"d3NumberFormat": ",.1f"}},
            "order_by_cols": ['["created", false]'],
            "row_limit": 1000,
        },
    ),
    "Purity of channels": (
        "channels",
        (6, 50),
        {
            "viz_type": "box_plot",
            "groupby": ["layer_in_order"],
            "columns": ["channel"],
            "metrics": ["purity_mean"],
            "whiskerOptions": "Tukey",
            "number_format": ".0%",
            "row_limit": 100_000,
        },
    ),
    "Label of each channel's strongest image": (
        "top",
        (6, 50),
        {
            **_BAR,
            "x_axis": "label",
            "metrics": ["channels"],
            "x_axis_sort": "channels",
            "x_axis_sort_asc": False,
            "adhoc_filters": [
                {"clause": "WHERE", "expressionType": "SIMPLE", "subject": "rank", "operator": "==", "comparator": 0},
                {"clause": "WHERE", "expressionType": "SIMPLE", "subject": "score", "operator": ">", "comparator": 0},
            ],
        },
    ),
    "Dead and selective channels": (
        "units",
        (6, 50),
        {
            **_BAR,
            **_SHARES,
            "x_axis": "layer_in_order",
            "metrics": ["dead_share", "selective_share"],
            "show_legend": True,
        },
    ),
    "Rejects by reason": (
        "rejects",
        (6, 50),
        {**_BAR, "x_axis": "reason", "metrics": ["count"], "x_axis_sort": "count", "x_axis_sort_asc": False},
    ),
}
_ROWS = (
    ("Runs",),
    ("Purity of channels", "Label of each channel's strongest image"),
    ("Dead and selective channels", "Rejects by reason"),
)
_TYPES = {
    pa.bool_(): "BOOLEAN",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.timestamp("us", "UTC"): "TIMESTAMP WITH TIME ZONE",
}


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they are."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def files() -> dict[str, str]:
    """The text of each file, by its path in the folder."""
    documents: dict[str, dict[str, Any]] = {
        "metadata.yaml": {"version": VERSION, "type": "Dashboard", "timestamp": TIMESTAMP}
    }
    documents["databases/Deconvoy.yaml"] = {
        "database_name": "Deconvoy",
        "sqlalchemy_uri": "duckdb:////data/atlas.duckdb",
        "expose_in_sqllab": True,
        "allow_ctas": False,
        "allow_cvas": False,
        "allow_dml": False,
        "extra": {"engine_params": {"connect_args": {"read_only": True}}},
        "uuid": _uuid("database"),
        "version": VERSION,
    }
    documents |= {f"datasets/Deconvoy/{name}.yaml": _dataset(name) for name in METRICS}
    documents |= {chart_path(title): _chart(title) for title in CHARTS}
    documents["dashboards/Deconvoy.yaml"] = _dashboard()
    return {path: yaml.dump(each, Dumper=_Dumper, sort_keys=False, width=120) for path, each in documents.items()}


def _dataset(name: str) -> dict[str, Any]:
    schema = CHANNELS if name == "channels" else TABLES[name].schema
    columns = [field for field in schema if field.type != IMAGE]
    times = [field.name for field in columns if pa.types.is_timestamp(field.type)]
    run = pa.field("run", pa.string(), metadata={"doc": "run id"})
    return {
        "table_name": name,
        "main_dttm_col": times[0] if times else None,
        "schema": "main",
        "sql": CHANNELS_SQL if name == "channels" else None,
        "uuid": _uuid(name),
        "metrics": [{"metric_name": metric, "expression": text} for metric, text in METRICS[name].items()],
        "columns": [_column(field) for field in (*columns, run)] + _computed(name),
        "version": VERSION,
        "database_uuid": _uuid("database"),
    }


def _column(field: pa.Field) -> dict[str, Any]:
    plain = not pa.types.is_nested(field.type)
    return {
        "column_name": field.name,
        "type": _type(field.type),
        "is_dttm": pa.types.is_timestamp(field.type),
        "groupby": plain,
        "filterable": plain,
        "description": field.metadata[b"doc"].decode(),
    }


def _computed(table: str) -> list[dict[str, Any]]:
    if table not in COMPUTED:
        return []
    name, expression, description = COMPUTED[table]
    column = _column(pa.field(name, pa.string(), metadata={"doc": description}))
    return [{**column, "expression": expression}]


def chart_path(title: str) -> str:
    """The path of a chart's file in the folder."""
    return f"charts/{title.replace(' ', '_').replace(chr(39), '')}.yaml"


def _chart(title: str) -> dict[str, Any]:
    table, _, settings = CHARTS[title]
    return {
        "slice_name": title,
        "viz_type": settings["viz_type"],
        "params": dict(settings),
        "uuid": _uuid(title),
        "version": VERSION,
        "dataset_uuid": _uuid(table),
    }


def _dashboard() -> dict[str, Any]:
    return {
        "dashboard_title": "Deconvoy",
        "slug": "deconvoy",
        "published": True,
        "uuid": _uuid("dashboard"),
        "position": _positions(),
        "metadata": {"native_filter_configuration": [_run_filter()]},
        "version": VERSION,
    }


def _positions() -> dict[str, Any]:
    """Rows of charts in a grid, as Superset nests them."""
    grid = ["ROOT_ID", "GRID_ID"]
    rows = {f"ROW-{number}": titles for number, titles in enumerate(_ROWS)}
    position: dict[str, Any] = {
        "DASHBOARD_VERSION_KEY": "v2",
        "ROOT_ID": {"id": "ROOT_ID", "type": "ROOT", "children": ["GRID_ID"]},
        "GRID_ID": {"id": "GRID_ID", "type": "GRID", "children": [*rows], "parents": ["ROOT_ID"]},
    }
    for row, titles in rows.items():
        charts = {f"CHART-{_number(title)}": _placed(title, [*grid, row]) for title in titles}
        look = {"background": "BACKGROUND_TRANSPARENT"}
        position[row] = {"id": row, "type": "ROW", "children": [*charts], "parents": grid, "meta": look}
        position |= charts
    return position


def _placed(title: str, parents: list[str]) -> dict[str, Any]:
    """A chart on the dashboard; Superset replaces its number when it imports the chart."""
    width, height = CHARTS[title][1]
    meta = {"chartId": _number(title), "uuid": _uuid(title), "sliceName": title, "width": width, "height": height}
    return {"id": f"CHART-{_number(title)}", "type": "CHART", "children": [], "parents": parents, "meta": meta}


def _number(title: str) -> int:
    return [*CHARTS].index(title) + 1


def _run_filter() -> dict[str, Any]:
    """One scan at a time; the list of runs shows all."""
    return {
        "id": "NATIVE_FILTER-run",
        "type": "NATIVE_FILTER",
        "name": "Scan",
        "filterType": "filter_select",
        "targets": [{"datasetUuid": _uuid("units"), "column": {"name": "run"}}],
        "scope": {"rootPath": ["ROOT_ID"], "excluded": [_number("Runs")]},
        "controlValues": {"multiSelect": False, "enableEmptyFilter": True, "defaultToFirstItem": True},
        "defaultDataMask": {"extraFormData": {}, "filterState": {}},
        "requiredFirst": True,  # charts wait for it
        "cascadeParentIds": [],
    }


def _type(kind: pa.DataType) -> str:
    return f"{_TYPES[kind.value_type]}[]" if pa.types.is_list(kind) else _TYPES[kind]


def _uuid(name: str) -> str:
    return str(uuid.uuid5(NAMESPACE, name))


if __name__ == "__main__":
    for path, text in files().items():
        (FOLDER / path).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / path).write_text(text)
