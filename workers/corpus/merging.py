"""Today's listing merged with an earlier manifest. Takes two Parquet files, writes a third; memory stays flat."""

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from workers.store.tables.shared import MANIFEST

# Rows that were there keep their place, with today's bytes and etag; new ones follow by image_id; `now` may be null.
_MERGE = """
    SELECT
        coalesce(now.image_id, old.image_id) AS image_id,
        coalesce(now.uri, old.uri) AS uri,
        coalesce(now.bytes, old.bytes) AS bytes,
        coalesce(now.etag, old.etag) AS etag,
        CASE WHEN now.image_id IS NULL THEN old.label ELSE now.label END AS label,
        CASE WHEN now.image_id IS NULL THEN old."group" ELSE now."group" END AS "group",
        now.image_id IS NULL AS removed,
        CASE WHEN now.image_id IS NULL THEN old.refused ELSE now.refused END AS refused
    FROM (SELECT *, file_row_number AS place FROM read_parquet(?, file_row_number = true)) AS old
    FULL OUTER JOIN read_parquet(?) AS now ON now.image_id = old.image_id
    ORDER BY old.place NULLS LAST, now.image_id
"""


def merge(before: Path, now: Path, target: Path, group_rows: int) -> None:
    """Merge a listing with an earlier manifest, on disk.

    Args:
        before: the earlier manifest.
        now: the listing.
        target: written; has the columns of a manifest.
        group_rows: rows of each of its row groups but the last.
    """
    with duckdb.connect(config=_frugal(target.parent)) as database:
        reader = database.sql(_MERGE, params=[str(before), str(now)]).to_arrow_reader(group_rows)
        with pq.ParquetWriter(
            target, MANIFEST, compression="ZSTD", write_page_checksum=True, use_dictionary=False
        ) as writer:
            waiting = MANIFEST.empty_table()
            for batch in reader:
                waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch]).cast(MANIFEST)])
                while len(waiting) >= group_rows:
                    writer.write_table(waiting.slice(0, group_rows).combine_chunks(), row_group_size=group_rows)
                    waiting = waiting.slice(group_rows)
            if len(waiting):
                writer.write_table(waiting.combine_chunks(), row_group_size=group_rows)


def _frugal(scratch: Path) -> dict[str, Any]:
    return {
        "memory_limit": "384MB",
        "threads": 1,
        "temp_directory": str(scratch / "spill"),
        "preserve_insertion_order": True,
    }
