"""Merging of a listing with an earlier manifest. Takes two Parquet files, writes a third, in constant memory."""

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.errors import CorpusError
from workers.store.tables.shared import MANIFEST

# Existing rows keep their place and get the listing's bytes and etag; new rows follow, sorted by image_id. Rows that the
# listing does not have are marked as removed.
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
        target: file to write, with the columns of a manifest.
        group_rows: rows per row group; the last may have fewer.

    Raises:
        CorpusError: the listing has two images with the same id.
    """
    with duckdb.connect(config=low_memory(target.parent)) as database:
        reader = database.sql(_MERGE, params=[str(before), str(now)]).to_arrow_reader(group_rows)
        with pq.ParquetWriter(
            target, MANIFEST, compression="ZSTD", write_page_checksum=True, use_dictionary=False
        ) as writer:
            waiting, last = MANIFEST.empty_table(), None
            for batch in reader:
                last = _require_unique(batch["image_id"], last)
                waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch]).cast(MANIFEST)])
                while len(waiting) >= group_rows:
                    writer.write_table(waiting.slice(0, group_rows).combine_chunks(), row_group_size=group_rows)
                    waiting = waiting.slice(group_rows)
            if len(waiting):
                writer.write_table(waiting.combine_chunks(), row_group_size=group_rows)


def _require_unique(image_ids: pa.Array, before: str | None) -> str | None:
    """Refuse a listing with two images of the same id, which the merge puts next to each other; gives the last id."""
    if not len(image_ids):
        return before
    same = pc.equal(image_ids[1:], image_ids[:-1])
    twice = image_ids[1:].filter(same)
    if len(twice) or image_ids[0].as_py() == before:
        image_id = twice[0].as_py() if len(twice) else before
        raise CorpusError(f"the corpus has two images with the id {image_id!r}; ids must be unique")
    return str(image_ids[-1].as_py())


def low_memory(scratch: Path) -> dict[str, Any]:
    """The configuration of a DuckDB that spills to a folder."""
    return {
        "memory_limit": "192MB",
        "threads": 1,
        "temp_directory": str(scratch / "spill"),
        "preserve_insertion_order": True,
    }
