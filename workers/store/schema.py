"""The datasets of a scan, written once. Takes nothing, gives tables of columns."""

import pyarrow as pa

from workers.store.columns import IMAGE, IMAGE_KEY, KEY, Column, Table, schema_of
from workers.store.instruments import CORRESPONDENCE, FILTERS, INVARIANCE, INVERSIONS, OCCLUSIONS, SANITY

_TOP: tuple[Column, ...] = (
    *KEY,
    ("rank", pa.int32(), "0 for the image with the largest score"),
    ("score", pa.float32(), "the channel's largest activation in this image"),
    *IMAGE_KEY,
    ("label", pa.string(), "label of the image, null where the corpus gives none"),
    ("y", pa.int32(), "row of the unit in the feature map"),
    ("x", pa.int32(), "column of the unit in the feature map"),
    ("box_top", pa.int32(), "receptive field in model-input pixels: first row; may be negative"),
    ("box_left", pa.int32(), "receptive field in model-input pixels: first column; may be negative"),
    ("box_bottom", pa.int32(), "receptive field in model-input pixels: row behind the last"),
    ("box_right", pa.int32(), "receptive field in model-input pixels: column behind the last"),
    ("source_top", pa.int32(), "receptive field in pixels of the upright source image: first row, rounded outward"),
    ("source_left", pa.int32(), "receptive field in pixels of the upright source image: first column, rounded outward"),
    ("source_bottom", pa.int32(), "receptive field in pixels of the upright source image: row behind the last"),
    ("source_right", pa.int32(), "receptive field in pixels of the upright source image: column behind the last"),
)
_PROJECTED: tuple[Column, ...] = (
    ("patch", IMAGE, "what the unit saw: the receptive field, cut to the model's input"),
    (
        "projection",
        IMAGE,
        "the unit's activation carried down to the same pixels; with p = pixel / 127.5 - 1 the value is "
        "sign(p) p^2 projection_scale; null if the score is not positive",
    ),
    ("projection_scale", pa.float32(), "largest absolute value of the projection, model-input scale"),
    ("method", pa.string(), "deconvnet, guided_backprop or gradient"),
    (
        "exact",
        pa.bool_(),
        "false where a node on the way has no downward step in the paper and ours is an extension",
    ),
)
_STATISTICS: tuple[Column, ...] = (
    ("images", pa.int64(), "images seen"),
    ("max", pa.float32(), "largest score"),
    ("mean", pa.float64(), "mean score"),
    ("std", pa.float64(), "standard deviation of the scores (of the population)"),
    ("active_share", pa.float64(), "share of images with a positive score"),
    *(
        (f"q{p:02d}", pa.float32(), f"score that {p} % of the images do not exceed, within 1 %")
        for p in (1, 10, 25, 50, 75, 90, 99)
    ),
    ("dead", pa.bool_(), "no image has a positive score"),
    (
        "bins",
        pa.list_(pa.int32()),
        "histogram: numbers of the occupied bins, ascending; bin b > 0 holds scores from 1.01^(b-4001) up to "
        "1.01^(b-4000), bin -b their negatives, bin 0 holds 0",
    ),
    ("counts", pa.list_(pa.int64()), "histogram: images in each of these bins"),
    ("field_height", pa.int32(), "height of a unit's receptive field, model-input pixels"),
    ("field_width", pa.int32(), "width of a unit's receptive field, model-input pixels"),
    (
        "stride_y",
        pa.int32(),
        "model-input pixels between neighbouring rows of units; null where each sees the whole image",
    ),
    (
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
            ("job", pa.string(), "kind of job: scan, ..."),
            ("spec", pa.string(), "the whole spec, as JSON"),
            ("model_source", pa.string(), "where the model came from"),
            ("model_fingerprint", pa.string(), "hash of the model's graph and of every weight"),
            ("corpus", pa.string(), "source of the images"),
            ("created", pa.timestamp("us", tz="UTC"), "when the run was published"),
            ("images", pa.int64(), "images scanned"),
            ("rejects", pa.int64(), "images not used"),
            ("layers", pa.int32(), "layers looked at"),
            ("channels", pa.int32(), "channels looked at, over all layers"),
            ("seconds", pa.float64(), "time of the attempt that published the run, seconds"),
            (
                "images_per_s",
                pa.float64(),
                "images that this attempt scanned per second of its scan; null if it scanned none",
            ),
            ("versions", pa.string(), "versions of the software, as JSON"),
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
            ("label", pa.string(), "label of the image, null where the corpus gives none"),
            ("group", pa.string(), "group of the image, null where the corpus gives none"),
            ("width", pa.int32(), "width of the upright image, pixels"),
            ("height", pa.int32(), "height of the upright image, pixels"),
            ("bytes", pa.int64(), "size of the file"),
            ("sha256", pa.string(), "hash of the file's bytes"),
            ("decoder", pa.string(), "software that decoded the image"),
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
            ("bytes", pa.int64(), "size of the file"),
            ("reason", pa.string(), "why it was not used, one enumerated word"),
            ("detail", pa.string(), "what the decoder or the limit said"),
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
            ("checkpoint", pa.int32(), "number of the checkpoint in the training, from 0"),
            ("checkpoint_name", pa.string(), "name of its file, without the ending"),
            (
                "same_as",
                pa.int32(),
                "first checkpoint whose layer, and all below it, is the same, so that this row is that one's; null: none",
            ),
            ("mean", pa.float64(), "mean score over all images"),
            ("active_share", pa.float64(), "share of images with a positive score"),
            (
                "overlap",
                pa.float64(),
                "share of the top-k in common with the last checkpoint, of the larger of both; images that do not wake the "
                "channel do not count; null: none does at either",
            ),
            (
                "settled_since",
                pa.int32(),
                "first checkpoint from which on overlap stays at the run's settled_share or above; the same in all rows of "
                "a channel; null: nothing wakes it at the last checkpoint",
            ),
            *(column for column in _TOP if column[0] not in ("rank", *(name for name, _, _ in KEY))),
            *_PROJECTED,
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
            ("image_index", pa.int64(), "row number of the image in the corpus manifest"),
            ("image_id", pa.string(), "stable key of the image: its path below the corpus"),
            ("preview", IMAGE, "the upright image, longer side at most 320 pixels"),
        ),
    ),
    sorted_by=("image_index",),
    group_rows=128,
)

# A run has every one of these, with zero rows if need be; `runs` is made from manifest.json and stands apart.
SCAN_TABLES = (IMAGES, REJECTS, UNITS, TOP, PATCHES, PREVIEWS)
INSTRUMENT_TABLES = (OCCLUSIONS, INVERSIONS, FILTERS, INVARIANCE, CORRESPONDENCE, SANITY)
TABLES = {table.name: table for table in (RUNS, *SCAN_TABLES, *INSTRUMENT_TABLES, EVOLUTION)}
