"""The table and results of invariance. Takes nothing, gives schemas."""

import pyarrow as pa

from workers.store.columns import IMAGE, IMAGE_KEY, KEY, Column, Table, schema_of, shift_ids
from workers.store.tables.shared import result_of_image

MOVED: tuple[Column, ...] = (
    *shift_ids(KEY[:2], 4),
    Column(
        7,
        "transform",
        pa.string(),
        "translate_y: down; translate_x: to the right; scale: about the centre, above 1 enlarges; rotate: about the centre, "
        "counter-clockwise",
    ),
    Column(
        8, "amount", pa.float64(), "model-input pixels, a factor, or degrees; 0, 1 and 0 are the untransformed image"
    ),
    Column(
        9,
        "distance",
        pa.float64(),
        "Euclidean distance between the layer's features and those of the untransformed image",
    ),
    Column(
        10,
        "relative_distance",
        pa.float64(),
        "distance over the norm of the untransformed image's features; null where that is 0",
    ),
    Column(11, "class_index", pa.int32(), "class whose probability is tracked"),
    Column(12, "class_name", pa.string(), "its name, null where none is known"),
    Column(
        13,
        "target",
        pa.string(),
        "target as given in the spec: label, a class, or predicted (the untransformed image's most probable class)",
    ),
    Column(
        14,
        "probability",
        pa.float32(),
        "probability of this class in the transformed image; the same in every layer's row",
    ),
    Column(15, "predicted_index", pa.int32(), "most probable class of the transformed image"),
    Column(16, "predicted_name", pa.string(), "its name, null where none is known"),
    Column(17, "border", pa.string(), "what is seen beyond the image's border: grey, edge, reflect or wrap"),
    Column(
        18,
        "picture",
        IMAGE,
        "the transformed image, stored only for some amounts and only in the first layer's rows; lossy if it is large",
    ),
)

INVARIANCE = Table(
    "invariance",
    schema_of("invariance", (*IMAGE_KEY, Column(4, "label", pa.string(), "label of the image, or null"), *MOVED)),
    sorted_by=("image_index", "layer_index", "transform", "amount"),
    by_image=True,
    group_rows=256,
)

TRANSFORMED = result_of_image("transformed", MOVED, "the rows of `invariance`, by layer, transform and amount")

TABLES = (INVARIANCE,)
RESULTS: tuple[pa.Schema, ...] = (TRANSFORMED,)
