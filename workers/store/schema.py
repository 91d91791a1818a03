"""The datasets of a scan, written once. Takes nothing, gives tables of columns."""

import pyarrow as pa

from workers.store.columns import IMAGE, IMAGE_KEY, KEY, Column, Table, schema_of, shifted
from workers.store.instruments import CORRESPONDENCE, FILTERS, INVARIANCE, INVERSIONS, OCCLUSIONS, SANITY

_TOP: tuple[Column, ...] = (
    *KEY,
    Column(4, "rank", pa.int32(), "0 for the image with the largest score"),
    Column(5, "score", pa.float32(), "the channel's largest activation in this image"),
    *shifted(IMAGE_KEY, 5),
    Column(9, "label", pa.string(), "label of the image, null where the corpus gives none"),
    Column(10, "y", pa.int32(), "row of the unit in the feature map"),
    Column(11, "x", pa.int32(), "column of the unit in the feature map"),
    Column(12, "box_top", pa.int32(), "receptive field in model-input pixels: first row; may be negative"),
    Column(13, "box_left", pa.int32(), "receptive field in model-input pixels: first column; may be negative"),
    Column(14, "box_bottom", pa.int32(), "receptive field in model-input pixels: row behind the last"),
    Column(15, "box_right", pa.int32(), "receptive field in model-input pixels: column behind the last"),
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
        18, "source_bottom", pa.int32(), "receptive field in pixels of the upright source image: row behind the last"
    ),
    Column(
        19, "source_right", pa.int32(), "receptive field in pixels of the upright source image: column behind the last"
    ),
)
_PROJECTED: tuple[Column, ...] = (
    Column(20, "patch", IMAGE, "what the unit saw: the receptive field, cut to the model's input"),
    Column(
        21,
        "projection",
        IMAGE,
        "the unit's activation carried down to the same pixels; with p = pixel / 127.5 - 1 the value is "
        "sign(p) p^2 projection_scale; null if the score is not positive",
    ),
    Column(22, "projection_scale", pa.float32(), "largest absolute value of the projection, model-input scale"),
    Column(23, "method", pa.string(), "deconvnet, guided_backprop or gradient"),
    Column(
        24,
        "exact",
        pa.bool_(),
        "false where a node on the way has no downward step in the paper and ours is an extension",
    ),
)
_STATISTICS: tuple[Column, ...] = (
    Column(4, "images", pa.int64(), "images seen"),
    Column(5, "max", pa.float32(), "largest score"),
    Column(6, "mean", pa.float64(), "mean score"),
    Column(7, "std", pa.float64(), "standard deviation of the scores (of the population)"),
    Column(8, "active_share", pa.float64(), "share of images with a positive score"),
    *(
        Column(number, f"q{p:02d}", pa.float32(), f"score that {p} % of the images do not exceed, within 1 %")
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
    Column(19, "field_height", pa.int32(), "height of a unit's receptive field, model-input pixels"),
    Column(20, "field_width", pa.int32(), "width of a unit's receptive field, model-input pixels"),
    Column(
        21,
        "stride_y",
        pa.int32(),
        "model-input pixels between neighbouring rows of units; null where each sees the whole image",
    ),
    Column(
        22,
        "stride_x",
        pa.int32(),
        "model-input pixels between neighbouring columns of units; null where each sees the whole image",
    ),
)

RUNS = Table(
    "runs",
    schema_of(
        "runs",
        (
            Column(1, "job", pa.string(), "kind of job: scan, ..."),
            Column(2, "spec", pa.string(), "the whole spec, as JSON"),
            Column(3, "model_source", pa.string(), "where the model came from"),
            Column(4, "model_fingerprint", pa.string(), "hash of the model's graph and of every weight"),
            Column(5, "corpus", pa.string(), "source of the images"),
            Column(6, "created", pa.timestamp("us", tz="UTC"), "when the run was published"),
            Column(7, "images", pa.int64(), "images scanned"),
            Column(8, "rejects", pa.int64(), "images not used"),
            Column(9, "layers", pa.int32(), "layers looked at"),
            Column(10, "channels", pa.int32(), "channels looked at, over all layers"),
            Column(11, "seconds", pa.float64(), "time of the attempt that published the run, seconds"),
            Column(
                12,
                "images_per_s",
                pa.float64(),
                "images that this attempt scanned per second of its scan; null if it scanned none",
            ),
            Column(13, "versions", pa.string(), "versions of the software, as JSON"),
        ),
    ),
    sorted_by=(),
)
IMAGES = Table(
    "images",
    schema_of(
        "images",
        (
            *IMAGE_KEY,
            Column(4, "label", pa.string(), "label of the image, null where the corpus gives none"),
            Column(5, "group", pa.string(), "group of the image, null where the corpus gives none"),
            Column(6, "width", pa.int32(), "width of the upright image, pixels"),
            Column(7, "height", pa.int32(), "height of the upright image, pixels"),
            Column(8, "bytes", pa.int64(), "size of the file"),
            Column(9, "sha256", pa.string(), "hash of the file's bytes"),
            Column(10, "decoder", pa.string(), "software that decoded the image"),
        ),
    ),
    sorted_by=("image_index",),
)
REJECTS = Table(
    "rejects",
    schema_of(
        "rejects",
        (
            *IMAGE_KEY,
            Column(4, "bytes", pa.int64(), "size of the file"),
            Column(5, "reason", pa.string(), "why it was not used, one enumerated word"),
            Column(6, "detail", pa.string(), "what the decoder or the limit said"),
        ),
    ),
    sorted_by=("image_index",),
)
UNITS = Table("units", schema_of("units", (*KEY, *_STATISTICS)), sorted_by=("layer_index", "channel"), group_rows=4096)
TOP = Table("top", schema_of("top", _TOP), sorted_by=("layer_index", "channel", "rank"), group_rows=16_384)
PATCHES = Table(
    "patches",
    schema_of(
        "patches",
        (
            *_TOP,
            *_PROJECTED,
        ),
    ),
    sorted_by=("layer_index", "channel", "rank"),
    group_rows=128,
    apart="layer_index",
)
EVOLUTION = Table(
    "evolution",
    schema_of(
        "evolution",
        (
            *KEY,
            Column(4, "checkpoint", pa.int32(), "number of the checkpoint in the training, from 0"),
            Column(5, "checkpoint_name", pa.string(), "name of its file, without the ending"),
            Column(
                6,
                "same_as",
                pa.int32(),
                "first checkpoint whose layer, and all below it, is the same, so that this row is that one's; null: none",
            ),
            Column(7, "mean", pa.float64(), "mean score over all images"),
            Column(8, "active_share", pa.float64(), "share of images with a positive score"),
            Column(
                9,
                "overlap",
                pa.float64(),
                "share of the top-k in common with the last checkpoint, of the larger of both; images that do not wake the "
                "channel do not count; null: none does at either",
            ),
            Column(
                10,
                "settled_since",
                pa.int32(),
                "first checkpoint from which on overlap stays at the run's settled_share or above; the same in all rows of "
                "a channel; null: nothing wakes it at the last checkpoint",
            ),
            *shifted([column for column in _TOP if column not in KEY and column.name != "rank"], 6),
            *shifted(_PROJECTED, 6),
        ),
    ),
    sorted_by=("layer_index", "channel", "checkpoint"),
    group_rows=128,
    apart="layer_index",
)
PREVIEWS = Table(
    "previews",
    schema_of(
        "previews",
        (
            Column(1, "image_index", pa.int64(), "row number of the image in the corpus manifest"),
            Column(2, "image_id", pa.string(), "stable key of the image: its path below the corpus"),
            Column(3, "preview", IMAGE, "the upright image, longer side at most 320 pixels"),
        ),
    ),
    sorted_by=("image_index",),
    group_rows=128,
)

# A run has every one of these, with zero rows if need be; `runs` is made from manifest.json and stands apart.
SCAN_TABLES = (IMAGES, REJECTS, UNITS, TOP, PATCHES, PREVIEWS)
INSTRUMENT_TABLES = (OCCLUSIONS, INVERSIONS, FILTERS, INVARIANCE, CORRESPONDENCE, SANITY)
TABLES = {table.name: table for table in (RUNS, *SCAN_TABLES, *INSTRUMENT_TABLES, EVOLUTION)}
