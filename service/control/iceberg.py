"""Tables of a root as Iceberg sees them. Takes a table, gives its schema; takes a Parquet file, gives its entry in a manifest.

The files stay where they are. `run` is only in their paths, so the tables are partitioned by it: where a file lacks a column,
readers take the value of its partition (https://iceberg.apache.org/spec/#column-projection).
"""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io import SCHEMA_TO_FILE_IO
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
    pyarrow_to_schema,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record
from pyiceberg.types import NestedField, StringType

from workers.errors import UsageError
from workers.store import paths
from workers.store.columns import FIELD_ID, RUN_ID, Table
from workers.store.root import Root

RUN = "run"
OWNER = "deconvoy.root"  # property of a table: the root whose files it has
SPEC = PartitionSpec(PartitionField(RUN_ID, PARTITION_FIELD_ID_START, IdentityTransform(), RUN), spec_id=1)


def schema_of(table: Table, schema_id: int = 0) -> Schema:
    """The columns of a table with the field ids and docs of its files, and `run`."""
    run = NestedField(RUN_ID, RUN, StringType(), required=False, doc="run id")
    return Schema(*pyarrow_to_schema(table.schema).fields, run, schema_id=schema_id)


def properties_of(schema: Schema, owner: str) -> dict[str, str]:
    """The properties of a table.

    `gc.enabled` tells engines never to delete its files, for example when snapshots expire. Commits are not retried by
    pyiceberg, which would add the same files twice. The name mapping finds columns in files without ids of nested fields.

    Args:
        schema: its schema.
        owner: the location of the root.
    """
    return {
        OWNER: owner,
        "gc.enabled": "false",
        "commit.retry.num-retries": "0",
        "schema.name-mapping.default": schema.name_mapping.model_dump_json(),
    }


def location_of(root: Root) -> str:
    """The URL of a root, by which engines open its files.

    Raises:
        UsageError: pyiceberg cannot open such URLs.
    """
    base = root.absolute().base
    url = f"file://{base}" if root.is_local else str(root.filesystem.unstrip_protocol(base))
    scheme = url.partition("://")[0]
    if scheme not in SCHEMA_TO_FILE_IO:
        raise UsageError(f"Iceberg cannot read root {root.url!r}: it does not support {scheme}://")
    if marks := sorted({*base} & {*"?#"}):
        raise UsageError(f"Iceberg cannot read root {root.url!r}: its path contains {' and '.join(marks)}")
    return url


def data_file(root: Root, path: str, footer: pq.FileMetaData, schema: Schema, spec_id: int) -> DataFile:
    """The entry of a Parquet file in a manifest.

    Args:
        root: the root.
        path: path under the root.
        footer: the file's footer.
        schema: schema of the table.
        spec_id: number of the table's partition spec `SPEC`.

    Raises:
        UsageError: the file has columns that the table does not have.
    """
    columns = parquet_path_to_id_mapping(schema)
    written = [footer.schema.column(number).path for number in range(footer.num_columns)]
    if unknown := sorted({*written} - columns.keys()):
        raise UsageError(f"{path} has columns that this version of Deconvoy does not know: {', '.join(unknown)}")
    plan = compute_statistics_plan(schema, _without_statistics(footer))
    statistics = data_file_statistics_from_parquet_metadata(footer, plan, columns)
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=f"{location_of(root)}/{path}",
        file_format=FileFormat.PARQUET,
        partition=Record(paths.run_of(path)),
        file_size_in_bytes=root.info(path)["size"],
        sort_order_id=None,
        spec_id=spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )


def lacks_nested_ids(footer: pq.FileMetaData) -> bool:
    """Whether a file has pictures or lists without field ids, as those of earlier versions."""
    return any(FIELD_ID.encode() not in (field.metadata or {}) for field in _nested(footer.schema.to_arrow_schema()))


def _nested(fields: pa.Schema | pa.DataType) -> Iterator[pa.Field]:
    """All fields in the columns of a schema."""
    for field in fields:
        kind = field.type
        inner = [kind.value_field] if pa.types.is_list(kind) else [*kind] if pa.types.is_struct(kind) else []
        yield from inner
        yield from _nested(pa.struct(inner))


def _without_statistics(footer: pq.FileMetaData) -> dict[str, str]:
    """Write properties that turn off metrics for columns without statistics."""
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(footer.num_columns)]
    names = {column.path_in_schema.replace(".list.", ".") for column in columns if not column.is_stats_set}
    return {f"write.metadata.metrics.column.{name}": "none" for name in names}
