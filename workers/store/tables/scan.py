"""Tables and results of a scan. Takes nothing, gives schemas."""

import pyarrow as pa

from workers.store.columns import IMAGE, IMAGE_KEY, KEY, Column, Table, schema_of, shift_ids
from workers.store.tables.shared import IMAGES, REJECTS, SHARD_IMAGE, SHARD_REJECT, result_of_image

TOP_COLUMNS: tuple[Column, ...] = (
    *KEY,
    Column(4, "rank", pa.int32(), "0 for the image with the largest score"),
    Column(5, "score", pa.float32(), "the channel's largest activation in this image"),
    *shift_ids(IMAGE_KEY, 5),
    Column(9, "label", pa.string(), "label of the image, null where the corpus gives none"),
    Column(10, "y", pa.int32(), "row of the unit in the feature map"),
    Column(11, "x", pa.int32(), "column of the unit in the feature map"),
    Column(12, "box_top", pa.int32(), "receptive field in model-input pixels: first row; may be negative"),
    Column(13, "box_left", pa.int32(), "receptive field in model-input pixels: first column; may be negative"),
    Column(14, "box_bottom", pa.int32(), "receptive field in model-input pixels: row after the last"),
    Column(15, "box_right", pa.int32(), "receptive field in model-input pixels: column after the last"),
    Column(
        16,
        "source_top",
        pa.int32(),
        "receptive field in pixels of the upright source image: first row, rounded outward",
    ),
    Column(
        17,
        "source_left",
        pa.int32(),
        "receptive field in pixels of the upright source image: first column, rounded outward",
    ),
    Column(
        18, "source_bottom", pa.int32(), "receptive field in pixels of the upright source image: row after the last"
    ),
    Column(
        19, "source_right", pa.int32(), "receptive field in pixels of the upright source image: column after the last"
    ),
)

PROJECTION_COLUMNS: tuple[Column, ...] = (
    Column(20, "patch", IMAGE, "what the unit saw: the receptive field, clipped to the model's input"),
    Column(
        21,
        "projection",
        IMAGE,
        "the unit's activation carried down to the same pixels; with p = pixel / 127.5 - 1, the value is "
        "sign(p) p^2 projection_scale; null if the score is not positive, or method is none",
    ),
    Column(22, "projection_scale", pa.float32(), "largest absolute value of the projection, model-input scale"),
    Column(23, "method", pa.string(), "deconvnet, guided_backprop, gradient, or none: patches without projections"),
    Column(
        24,
        "exact",
        pa.bool_(),
        "false if the projection passes through an operation that the paper does not cover and for which our own rule is used",
    ),
)

_STATISTICS: tuple[Column, ...] = (
    Column(4, "images", pa.int64(), "images seen"),
    Column(5, "max", pa.float32(), "largest score"),
    Column(6, "mean", pa.float64(), "mean score"),
    Column(7, "std", pa.float64(), "population standard deviation of the scores"),
    Column(8, "active_share", pa.float64(), "share of images with a positive score"),
    *(
        Column(
            number,
            f"q{p:02d}",
            pa.float32(),
            f"score that {p} % of the images do not exceed, with a relative error of at most 1 %",
        )
        for number, p in ((9, 1), (10, 10), (11, 25), (12, 50), (13, 75), (14, 90), (15, 99))
    ),
    Column(16, "dead", pa.bool_(), "no image has a positive score"),
    Column(
        17,
        "bins",
        pa.list_(pa.int32()),
        "histogram: numbers of the occupied bins, ascending; bin b > 0 holds scores from 1.01^(b-4001) up to "
        "1.01^(b-4000), bin -b their negatives, bin 0 holds 0",
    ),
    Column(18, "counts", pa.list_(pa.int64()), "histogram: images in each of these bins"),
    Column(19, "field_height", pa.int32(), "height of a unit's receptive field, in model-input pixels"),
    Column(20, "field_width", pa.int32(), "width of a unit's receptive field, in model-input pixels"),
    Column(
        21,
        "stride_y",
        pa.int32(),
        "row_stride as a whole number; null if row_stride is null or a fraction",
    ),
    Column(
        22,
        "stride_x",
        pa.int32(),
        "column_stride as a whole number; null if column_stride is null or a fraction",
    ),
    Column(
        23,
        "row_stride",
        pa.float64(),
        "model-input pixels between neighbouring rows of units, which may be a fraction above an upsampling layer; null where "
        "each unit sees the whole image, and in runs of earlier versions",
    ),
    Column(
        24,
        "column_stride",
        pa.float64(),
        "model-input pixels between neighbouring columns of units, which may be a fraction above an upsampling layer; null where "
        "each unit sees the whole image, and in runs of earlier versions",
    ),
    Column(
        25,
        "gated",
        pa.bool_(),
        "true if a factor computed from the image multiplies a map below, as in squeeze-and-excitation; projections hold it "
        "constant; null in runs of earlier versions",
    ),
    Column(
        26,
        "obstacle",
        pa.string(),
        "why the layer has no projections: the lowest operation without a downward step; empty if it has projections, null "
        "in runs of earlier versions",
    ),
)

UNITS = Table("units", schema_of("units", (*KEY, *_STATISTICS)), sorted_by=("layer_index", "channel"), group_rows=4096)

TOP = Table("top", schema_of("top", TOP_COLUMNS), sorted_by=("layer_index", "channel", "rank"), group_rows=16_384)

PATCHES = Table(
    "patches",
    schema_of(
        "patches",
        (
            *TOP_COLUMNS,
            *PROJECTION_COLUMNS,
        ),
    ),
    sorted_by=("layer_index", "channel", "rank"),
    group_rows=128,
    apart="layer_index",
)

PREVIEWS = Table(
    "previews",
    schema_of(
        "previews",
        (
            Column(1, "image_index", pa.int64(), "row number of the image in the corpus manifest"),
            Column(2, "image_id", pa.string(), "stable key of the image, such as its path below the corpus"),
            Column(3, "preview", IMAGE, "the upright image, longer side at most 320 pixels"),
        ),
    ),
    sorted_by=("image_index",),
    group_rows=128,
)

PREDICTIONS = Table(
    "predictions",
    schema_of(
        "predictions",
        (
            *IMAGE_KEY,
            Column(4, "class_index", pa.int32(), "number of the most probable class, from 0"),
            Column(5, "class_name", pa.string(), "its name"),
            Column(6, "probability", pa.float32(), "its probability"),
        ),
    ),
    sorted_by=("image_index",),
)

# Every scan has all of these tables, even if they are empty. `runs` is derived from manifest.json and not listed.
SCAN_TABLES = (IMAGES, REJECTS, UNITS, TOP, PATCHES, PREVIEWS, PREDICTIONS)

_REASON = pa.struct([pa.field("reason", pa.string()), pa.field("count", pa.int64())])

_SHARD_TOP = pa.struct(
    [
        pa.field("layer_index", pa.int32()),
        pa.field("channel", pa.int32()),
        pa.field("score", pa.float32()),
        pa.field("image_index", pa.int64()),
        pa.field("key", pa.int64()),
    ]
)

_SHARD_STATISTICS = pa.struct(
    [
        pa.field("layer_index", pa.int32()),
        pa.field("channel", pa.int32()),
        pa.field("images", pa.int64()),
        pa.field("max", pa.float32()),
        pa.field("sum", pa.float64()),
        pa.field("sum_of_squares", pa.float64()),
        pa.field("active", pa.int64()),
        pa.field("bins", pa.list_(pa.int32())),
        pa.field("counts", pa.list_(pa.int64())),
    ]
)

_SHARD_PREDICTION = pa.struct(
    [pa.field("image_index", pa.int64()), pa.field("class_index", pa.int32()), pa.field("probability", pa.float32())]
)

# One row with the whole result of a shard, so that the file itself marks the shard as done.
SHARD = schema_of(
    "shard",
    (
        Column(1, "images", pa.list_(SHARD_IMAGE), "images scanned, by image index"),
        Column(2, "rejects", pa.list_(SHARD_REJECT), "images not used, by image index"),
        Column(3, "top", pa.list_(_SHARD_TOP), "per layer and channel the k best; key says what counts once"),
        Column(4, "statistics", pa.list_(_SHARD_STATISTICS), "per layer and channel, over the scores of this shard"),
        Column(5, "predictions", pa.list_(_SHARD_PREDICTION), "most probable class of each image; empty if not wanted"),
    ),
)

# One row with the rows of some tables for consecutive images, as the Parquet files that are published.
ACCOUNTED = schema_of(
    "accounted",
    (
        Column(1, "images", pa.large_binary(), "part of `images`, a Parquet file; null if no image could be used"),
        Column(2, "rejects", pa.large_binary(), "part of `rejects`, a Parquet file; null if there are none"),
        Column(3, "scanned", pa.int64(), "number of rows of `images`"),
        Column(4, "reasons", pa.list_(_REASON), "number of rejects by reason"),
        Column(5, "examples", pa.list_(pa.string()), "the first rejects, each in one line"),
        Column(6, "predictions", pa.large_binary(), "part of `predictions`, a Parquet file; null if there are none"),
    ),
)

# The result of a projection group: one row per unit, sorted by (layer_index, channel, rank), then one preview row per image.
PROJECTED = schema_of(
    "projected",
    (
        Column(1, "layer_index", pa.int32(), "layer of the unit; null in an image's row"),
        Column(2, "channel", pa.int32(), "channel of the unit; null in an image's row"),
        Column(3, "rank", pa.int32(), "rank of the image; null in an image's row"),
        Column(4, "image_index", pa.int64(), "row number of the image in the corpus manifest"),
        Column(5, "patch", pa.binary(), "encoded patch"),
        Column(6, "projection", pa.binary(), "encoded projection; null if the score is not positive"),
        Column(7, "projection_scale", pa.float32(), "largest absolute value of the projection"),
        Column(8, "exact", pa.bool_(), "every node on the way has a downward step in the paper"),
        Column(9, "preview", pa.binary(), "encoded preview of the image; null in a unit's row"),
        Column(10, "y", pa.int32(), "row of the unit in the feature map; null in an image's row"),
        Column(11, "x", pa.int32(), "column of the unit in the feature map; null in an image's row"),
    ),
)

# One image in float32 and in the scan's precision; channels of all layers, in the order of the graph.
COMPARED = result_of_image(
    "compared",
    (
        Column(1, "scores", pa.list_(pa.float32()), "largest activation of each channel, in float32"),
        Column(2, "rounded", pa.list_(pa.float32()), "largest activation of each channel, in the scan's precision"),
    ),
    "the scores, one row",
)

TABLES = (
    UNITS,
    TOP,
    PATCHES,
    PREVIEWS,
    PREDICTIONS,
)
RESULTS: tuple[pa.Schema, ...] = (
    SHARD,
    ACCOUNTED,
    PROJECTED,
    COMPARED,
)
