"""Which images of a listing have labels and groups. Takes a listing, gives counts; DuckDB counts on disk."""

from collections.abc import Collection
from typing import Any, Literal

import duckdb

from workers.corpus.manifest import Listing
from workers.corpus.merging import low_memory


def coverage(listing: Listing, column: Literal["label", "group"]) -> tuple[int, int]:
    """How many labels or groups there are, and how many images have one."""
    query = f'SELECT count(DISTINCT "{column}"), count("{column}") FROM read_parquet(?)'  # noqa: S608 - one of two names
    values, images = _ask(listing, query)
    return values, images


def has_label(listing: Listing, names: Collection[str]) -> bool:
    """Whether an image has one of these labels."""
    query = "SELECT count(*) FROM read_parquet(?) WHERE label IN (SELECT unnest(?))"
    [images] = _ask(listing, query, [*names])
    return bool(images)


def _ask(listing: Listing, query: str, *values: object) -> Any:  # noqa: ANN401 - a row
    with duckdb.connect(config=low_memory(listing.folder)) as database:
        return database.execute(query, [str(listing.folder / "listed.parquet"), *values]).fetchone()
