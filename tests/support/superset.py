"""Superset's datasets over DuckDB views, examples/superset. Takes the tables, writes files in Superset's format of exports.

python -m tests.support.superset
"""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

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
        "active_share_mean": "AVG(active_share)",
        "max_score": "MAX(max)",
    },
    "top": {"count": "COUNT(*)", "channels": "COUNT(DISTINCT (run, layer, channel))", "best_score": "MAX(score)"},
}
_TYPES = {
    pa.bool_(): "BOOLEAN",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.timestamp("us", "UTC"): "TIMESTAMP WITH TIME ZONE",
}


def files() -> dict[str, str]:
    """The text of each file, by its path in the folder."""
    documents: dict[str, dict[str, Any]] = {
        "metadata.yaml": {"version": VERSION, "type": "SqlaTable", "timestamp": TIMESTAMP}
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
    return {path: yaml.safe_dump(each, sort_keys=False, width=120) for path, each in documents.items()}


def _dataset(name: str) -> dict[str, Any]:
    columns = [field for field in TABLES[name].schema if field.type != IMAGE]
    times = [field.name for field in columns if pa.types.is_timestamp(field.type)]
    run = pa.field("run", pa.string(), metadata={"doc": "run id"})
    return {
        "table_name": name,
        "main_dttm_col": times[0] if times else None,
        "schema": "main",
        "uuid": _uuid(name),
        "metrics": [{"metric_name": metric, "expression": text} for metric, text in METRICS[name].items()],
        "columns": [_column(field) for field in (*columns, run)],
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


def _type(kind: pa.DataType) -> str:
    return f"{_TYPES[kind.value_type]}[]" if pa.types.is_list(kind) else _TYPES[kind]


def _uuid(name: str) -> str:
    return str(uuid.uuid5(NAMESPACE, name))


if __name__ == "__main__":
    for path, text in files().items():
        (FOLDER / path).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / path).write_text(text)
