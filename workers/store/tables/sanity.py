"""The table and results of the randomisation check. Takes nothing, gives schemas."""

import pyarrow as pa

from workers.store.columns import IMAGE, IMAGE_KEY, KEY, Column, Table, schema_of, shift_ids
from workers.store.tables.shared import result_of_image

LIKENESS: tuple[Column, ...] = (
    *shift_ids(KEY, 4),
    Column(8, "rank", pa.int32(), "the image's rank among the channel's top images in the scan"),
    Column(9, "score", pa.float32(), "the unit's activation in the trained network, as recorded by the scan"),
    Column(10, "y", pa.int32(), "row of the unit in the feature map"),
    Column(11, "x", pa.int32(), "column of the unit in the feature map"),
    Column(12, "method", pa.string(), "deconvnet, guided_backprop or gradient"),
    Column(
        13,
        "mode",
        pa.string(),
        "what is compared with the trained network's projection. trained: itself, computed again; cascading: the projection "
        "of a network in which all layers from the unit's own down to the stage's are random; independent: only the stage's "
        "layers are random; other_channel: the trained network's projection of another channel that is active at the same "
        "location, which is the floor for the other modes",
    ),
    Column(14, "seed", pa.int64(), "random seed for the weights; null if none are random"),
    Column(
        15, "stage", pa.int32(), "stage of the randomisation, from 1 at the unit's own layer; 0 where nothing is random"
    ),
    Column(16, "stage_node", pa.string(), "the stage's lowest convolution or fully connected layer; null at stage 0"),
    Column(17, "other", pa.int32(), "the other channel; null except in mode other_channel"),
    Column(18, "status", pa.string(), "ok; blank: the projection is 0 everywhere and cannot be compared"),
    Column(
        19,
        "rank_correlation",
        pa.float64(),
        "Spearman's rank correlation of the signed values of both projections; null: blank",
    ),
    Column(
        20,
        "rank_correlation_abs",
        pa.float64(),
        "Spearman's rank correlation of the absolute values of both projections; null: blank",
    ),
    Column(
        21,
        "ssim",
        pa.float64(),
        "mean structural similarity of the absolute values summed over colours, each map scaled to a maximum of 1, in windows of "
        "7 x 7 px; "
        "null: blank, or the receptive field is smaller than that",
    ),
    Column(22, "patch", IMAGE, "what the unit saw, as in `patches`; null except in mode trained"),
    Column(
        23,
        "projection",
        IMAGE,
        "the projection, as in `patches`; begins with the unit's activation in the trained network, so its scale has no "
        "meaning if weights are random. Null in mode other_channel, for all seeds after the first, in mode independent if "
        "cascading was also run, and if blank",
    ),
    Column(24, "projection_scale", pa.float32(), "largest absolute value of the projection"),
)

SANITY = Table(
    "sanity",
    schema_of("sanity", (*IMAGE_KEY, Column(4, "label", pa.string(), "label of the image, or null"), *LIKENESS)),
    sorted_by=("image_index", "layer_index", "channel", "rank", "method", "mode", "seed", "stage", "other"),
    group_rows=256,
)

CHECKED = result_of_image("checked", LIKENESS, "the rows of `sanity`")

TABLES = (SANITY,)
RESULTS: tuple[pa.Schema, ...] = (CHECKED,)
