"""The table and results of occlusion. Takes nothing, gives schemas."""

import pyarrow as pa

from workers.store.columns import IMAGE, IMAGE_KEY, KEY, Column, Table, schema_of, shift_ids
from workers.store.tables.shared import result_of_image

OCCLUSION: tuple[Column, ...] = (
    *shift_ids(KEY[:2], 4),
    Column(7, "channel", pa.int32(), "channel that holds the layer's largest activation in the unoccluded image"),
    Column(8, "activation", pa.float64(), "sum over this channel's map in the unoccluded image"),
    Column(9, "class_index", pa.int32(), "class whose probability is tracked"),
    Column(10, "class_name", pa.string(), "its name, null where none is known"),
    Column(
        11,
        "target",
        pa.string(),
        "target as given in the spec: label, a class, or predicted (the unoccluded image's most probable class)",
    ),
    Column(12, "probability", pa.float32(), "probability of this class in the unoccluded image"),
    Column(13, "predicted_index", pa.int32(), "most probable class of the unoccluded image"),
    Column(14, "predicted_name", pa.string(), "its name, null where none is known"),
    Column(15, "rows", pa.int32(), "positions of the square from top to bottom"),
    Column(16, "cols", pa.int32(), "positions of the square from left to right"),
    Column(17, "activation_map", pa.list_(pa.float32()), "sum over the channel's map by position, row-major"),
    Column(18, "probability_map", pa.list_(pa.float32()), "probability of the tracked class by position, row-major"),
    Column(19, "class_map", pa.list_(pa.int32()), "most probable class by position, row-major"),
    Column(
        20,
        "classes",
        pa.list_(pa.struct([pa.field("class_index", pa.int32()), pa.field("class_name", pa.string())])),
        "classes that occur in class_map, most common first",
    ),
    Column(21, "panel_image", IMAGE, "the model's input with the square in its middle position"),
    Column(22, "panel_activation", IMAGE, "plot of activation_map"),
    Column(
        23,
        "panel_projection",
        IMAGE,
        "projection of the channel's strongest unit, with those of another run's top images",
    ),
    Column(24, "panel_probability", IMAGE, "plot of probability_map"),
    Column(25, "panel_class", IMAGE, "plot of class_map"),
    Column(26, "size", pa.int32(), "side of the square, in model-input pixels"),
    Column(
        27,
        "stride",
        pa.int32(),
        "distance between neighbouring positions, in model-input pixels; position (i, j) has its top left corner at "
        "(i * stride, j * stride)",
    ),
    Column(28, "fill", pa.string(), "what the square shows: grey, mean or blur"),
    Column(29, "original", IMAGE, "the model's input as a picture; lossy if it is large"),
)

OCCLUSIONS = Table(
    "occlusions",
    schema_of("occlusions", (*IMAGE_KEY, Column(4, "label", pa.string(), "label of the image, or null"), *OCCLUSION)),
    sorted_by=("image_index", "layer_index"),
    by_image=True,
    group_rows=16,
)

OCCLUDED = result_of_image("occluded", OCCLUSION, "the row of `occlusions`")

TABLES = (OCCLUSIONS,)
RESULTS: tuple[pa.Schema, ...] = (OCCLUDED,)
