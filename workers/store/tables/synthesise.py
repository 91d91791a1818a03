"""The table and results of synthesis. Takes nothing, gives schemas."""

import pyarrow as pa

from workers.store.columns import IMAGE, KEY, Column, Table, schema_of

_SYNTHESIS: tuple[Column, ...] = (
    *KEY,
    Column(
        4,
        "status",
        pa.string(),
        "ok; inactive (no activation of the channel is above 0, so there is no image)",
    ),
    Column(
        5,
        "score",
        pa.float32(),
        "largest activation of the channel for `synthesis`, comparable with the scores of a scan",
    ),
    Column(6, "mean", pa.float32(), "mean activation of the channel for `synthesis`: what was maximised"),
    Column(
        7,
        "curve",
        pa.list_(pa.float32()),
        "mean activation at each step, for the image at that step, slightly rotated, scaled and shifted",
    ),
    Column(8, "synthesis", IMAGE, "the optimised image, of the size of the model's input, lossless; null: inactive"),
    Column(9, "settings", pa.string(), "steps, rate and all other settings, as JSON"),
)

SYNTHESES = Table(
    "syntheses",
    schema_of("syntheses", _SYNTHESIS),
    sorted_by=("layer_index", "channel"),
    apart="layer_index",
    group_rows=64,
)

SYNTHESISED = schema_of("synthesised", _SYNTHESIS)

TABLES = (SYNTHESES,)
RESULTS: tuple[pa.Schema, ...] = (SYNTHESISED,)
