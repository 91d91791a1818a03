"""The table and results of inversion. Takes nothing, gives schemas."""

import pyarrow as pa

from workers.store.columns import IMAGE, IMAGE_KEY, KEY, Column, Table, schema_of, shift_ids
from workers.store.tables.shared import result_of_image

INVERSION: tuple[Column, ...] = (
    *shift_ids(KEY[:2], 4),
    Column(7, "restart", pa.int32(), "number of the restart, from 0"),
    Column(
        8,
        "status",
        pa.string(),
        "ok; diverged: also at a lower rate, so the image is the one with the smallest error; stuck: "
        "the final error is "
        "not below the initial one; blank: all features of the original are 0",
    ),
    Column(
        9,
        "error",
        pa.float64(),
        "squared distance of the features from the original's, divided by the squared norm of the "
        "latter; null if blank",
    ),
    Column(
        10,
        "error_curve",
        pa.list_(pa.float32()),
        "error at the start and after each iteration, before pixels are clipped and rounded; null if diverged",
    ),
    Column(11, "inversion", IMAGE, "resulting image, pixels clipped to 0 to 255, lossless; null if blank"),
    Column(12, "original", IMAGE, "the model's input, for display; lossy if large"),
    Column(13, "settings", pa.string(), "settings of the inversion, such as weights and learning rate, as JSON"),
)

INVERSIONS = Table(
    "inversions",
    schema_of("inversions", (*IMAGE_KEY, Column(4, "label", pa.string(), "label of the image, or null"), *INVERSION)),
    sorted_by=("image_index", "layer_index", "restart"),
    by_image=True,
    group_rows=64,
)

INVERTED = result_of_image("inverted", INVERSION, "the rows of `inversions` of one layer, by restart")

TABLES = (INVERSIONS,)
RESULTS: tuple[pa.Schema, ...] = (INVERTED,)
