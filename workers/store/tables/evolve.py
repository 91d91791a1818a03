"""The table of a run over the checkpoints of a training. Takes nothing, gives schemas."""

import pyarrow as pa

from workers.store.columns import KEY, Column, Table, schema_of, shift_ids
from workers.store.tables.scan import PROJECTION_COLUMNS, TOP_COLUMNS

EVOLUTION = Table(
    "evolution",
    schema_of(
        "evolution",
        (
            *KEY,
            Column(4, "checkpoint", pa.int32(), "number of the checkpoint in training order, from 0"),
            Column(5, "checkpoint_name", pa.string(), "name of its file, without the extension"),
            Column(
                6,
                "same_as",
                pa.int32(),
                "earliest checkpoint at which this layer and all layers below it are the same as at this one; its row is reused "
                "here; null: there is none",
            ),
            Column(7, "mean", pa.float64(), "mean score over all images"),
            Column(8, "active_share", pa.float64(), "share of images with a positive score"),
            Column(
                9,
                "overlap",
                pa.float64(),
                "share of the top-k in common with the last checkpoint, relative to the larger of the two sets; images that "
                "do not activate the channel do not count; null: no image activates it at either checkpoint",
            ),
            Column(
                10,
                "settled_since",
                pa.int32(),
                "first checkpoint from which overlap stays at the run's settled_share or above; the same in all rows of "
                "a channel; null: no image activates it at the last checkpoint",
            ),
            *shift_ids([column for column in TOP_COLUMNS if column not in KEY and column.name != "rank"], 6),
            *shift_ids(PROJECTION_COLUMNS, 6),
        ),
    ),
    sorted_by=("layer_index", "channel", "checkpoint"),
    group_rows=128,
    apart="layer_index",
)

TABLES = (EVOLUTION,)
RESULTS: tuple[pa.Schema, ...] = ()
