"""The table and results of embeddings of channels. Takes nothing, gives schemas."""

import pyarrow as pa

from workers.store.columns import KEY, Column, Table, schema_of

_EMBEDDED: tuple[Column, ...] = (
    *KEY,
    Column(
        4,
        "patches",
        pa.int32(),
        "number of top patches that were embedded, those with a positive score; if 0, the columns below are null",
    ),
    Column(
        5,
        "embedding",
        pa.list_(pa.float32()),
        "mean of the patches' embeddings, each of length 1, scaled to length 1 again",
    ),
    Column(
        6,
        "agreement",
        pa.float32(),
        "how alike the patches look to the image-text model: length of that mean before it is scaled, 1 if all are equal",
    ),
)
_MAP: tuple[Column, ...] = (
    Column(7, "map_x", pa.float32(), "place in a UMAP map of the layer's channels, spread evenly from 0 (left) to 1"),
    Column(8, "map_y", pa.float32(), "place in a UMAP map of the layer's channels, spread evenly from 0 (top) to 1"),
)

CONCEPTS = Table(
    "concepts",
    schema_of("concepts", (*_EMBEDDED, *_MAP)),
    sorted_by=("layer_index", "channel"),
    apart="layer_index",
    group_rows=1024,
)

EMBEDDED = schema_of("embedded", _EMBEDDED)

TABLES = (CONCEPTS,)
RESULTS: tuple[pa.Schema, ...] = (EMBEDDED,)
