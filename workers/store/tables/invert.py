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
        "ok; diverged (also at a lower rate; the image is the one with the smallest error); stuck (the final error is no "
        "smaller than the initial one); blank (the original's features are all 0)",
    ),
    Column(
        9,
        "error",
        pa.float64(),
        "squared distance between the inversion's and the original's features, divided by the squared norm of the original's "
        "features; "
        "null: blank",
    ),
    Column(
        10,
        "error_curve",
        pa.list_(pa.float32()),
        "the error at the start and after each iteration, before pixels are clipped and rounded; null: diverged",
    ),
    Column(11, "inversion", IMAGE, "the optimised image, pixels clipped to 0 to 255, lossless; null: blank"),
    Column(12, "original", IMAGE, "the model's input as a picture; lossy if it is large"),
    Column(13, "settings", pa.string(), "weights, rate and all other settings of the inversion, as JSON"),
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
