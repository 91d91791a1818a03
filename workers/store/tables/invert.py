"""The table and results of inversion. Takes nothing, gives schemas."""

import pyarrow as pa

from workers.store.columns import IMAGE, IMAGE_KEY, KEY, Column, Table, schema_of, shift_ids
from workers.store.tables.shared import result_of_image

INVERSION: tuple[Column, ...] = (
    *shift_ids(KEY[:2], 4),
    Column(7, "restart", pa.int32(), "number of the beginning, from 0"),
    Column(
        8,
        "status",
        pa.string(),
        "ok; diverged: at a lower rate too, the image is that of the least error; stuck: no better than it began; "
        "blank: the original's features are all 0",
    ),
    Column(
        9,
        "error",
        pa.float64(),
        "squared distance of the features to the stored ones over their squared norm; null: blank",
    ),
    Column(
        10,
        "error_curve",
        pa.list_(pa.float32()),
        "the error at the start and after each iteration, of pixels not cut or rounded; null: diverged",
    ),
    Column(11, "inversion", IMAGE, "the image that was found, pixels cut to 0 to 255, lossless; null: blank"),
    Column(12, "original", IMAGE, "the model's input, for the eye: lossy where large"),
    Column(13, "settings", pa.string(), "weights, rate and all else that the inversion was told, as JSON"),
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
