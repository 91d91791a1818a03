"""The datasets' columns, written once. Takes nothing, gives pyarrow schemas; every column has a doc and a field id."""

import json
from dataclasses import dataclass

import pyarrow as pa

VERSION = "1"

IMAGE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])


@dataclass(frozen=True, eq=False)
class Table:
    """One dataset of a run.

    Attributes:
        name: folder under `tables/`.
        schema: columns with docs, field ids and the schema's name and version.
        sorted_by: columns that the rows are sorted by.
        group_rows: largest row group; in a table with images their size counts too.
    """

    name: str
    schema: pa.Schema
    sorted_by: tuple[str, ...]
    group_rows: int = 65_536

    @property
    def images(self) -> tuple[str, ...]:
        """Names of the columns that hold encoded images."""
        return tuple(field.name for field in self.schema if field.type == IMAGE)


Column = tuple[str, pa.DataType, str]

_KEY: tuple[Column, ...] = (
    ("layer", pa.string(), "layer: name of the node of the model's graph"),
    ("layer_index", pa.int32(), "position of the layer in `deconvoy layers MODEL`"),
    ("channel", pa.int32(), "index along the feature map's first axis"),
)
_IMAGE_KEY: tuple[Column, ...] = (
    ("image_index", pa.int64(), "row number of the image in the corpus manifest"),
    ("image_id", pa.string(), "stable key of the image: its path below the corpus"),
    ("uri", pa.string(), "where the image was read from"),
)
_TOP: tuple[Column, ...] = (
    *_KEY,
    ("rank", pa.int32(), "0 for the image with the largest score"),
    ("score", pa.float32(), "the channel's largest activation in this image"),
    *_IMAGE_KEY,
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


def _schema(name: str, columns: tuple[Column, ...]) -> pa.Schema:
    fields = [
        pa.field(column, kind, metadata={"doc": doc, "PARQUET:field_id": str(number)})
        for number, (column, kind, doc) in enumerate(columns, start=1)
    ]
    metadata = {"deconvoy.schema": name, "deconvoy.version": VERSION}
    pictures = {column: {"_type": "Image"} for column, kind, _ in columns if kind == IMAGE}
    if pictures:
        features = {column: pictures.get(column) or _feature(kind) for column, kind, _ in columns}
        metadata["huggingface"] = json.dumps({"info": {"features": features}})
    return pa.schema(fields, metadata=metadata)


def _feature(kind: pa.DataType) -> dict[str, str]:
    names = {"float": "float32", "double": "float64"}
    return {"_type": "Value", "dtype": names.get(str(kind), str(kind))}


RUNS = Table(
    "runs",
    _schema(
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
    _schema(
        "images",
        (
            *_IMAGE_KEY,
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
    _schema(
        "rejects",
        (
            *_IMAGE_KEY,
            ("bytes", pa.int64(), "size of the file"),
            ("reason", pa.string(), "why it was not used, one enumerated word"),
            ("detail", pa.string(), "what the decoder or the limit said"),
        ),
    ),
    sorted_by=("image_index",),
)
UNITS = Table("units", _schema("units", (*_KEY, *_STATISTICS)), sorted_by=("layer_index", "channel"), group_rows=4096)
TOP = Table("top", _schema("top", _TOP), sorted_by=("layer_index", "channel", "rank"), group_rows=16_384)
PATCHES = Table(
    "patches",
    _schema(
        "patches",
        (
            *_TOP,
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
        ),
    ),
    sorted_by=("layer_index", "channel", "rank"),
    group_rows=128,
)
PREVIEWS = Table(
    "previews",
    _schema(
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
TABLES = {table.name: table for table in (RUNS, *SCAN_TABLES)}

MANIFEST = _schema(
    "manifest",
    (
        ("image_id", pa.string(), "stable key of the image: its path below the corpus"),
        ("uri", pa.string(), "where the image is read from"),
        ("bytes", pa.int64(), "size of the file"),
        ("etag", pa.string(), "what changes when the file changes: the store's etag, locally mtime_ns and ctime_ns"),
        ("label", pa.string(), "label, or null"),
        ("group", pa.string(), "group, or null"),
        ("removed", pa.bool_(), "no longer in the corpus; the row stays so that the others keep their number"),
        ("refused", pa.string(), "reason for which the listing itself rejects the file, or null"),
    ),
)

_SHARD_IMAGE = pa.struct(
    [
        pa.field("image_index", pa.int64()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("bytes", pa.int64()),
        pa.field("sha256", pa.string()),
        pa.field("decoder", pa.string()),
    ]
)
_SHARD_REJECT = pa.struct(
    [
        pa.field("image_index", pa.int64()),
        pa.field("bytes", pa.int64()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
    ]
)
_SHARD_TOP = pa.struct(
    [
        pa.field("layer_index", pa.int32()),
        pa.field("channel", pa.int32()),
        pa.field("score", pa.float32()),
        pa.field("image_index", pa.int64()),
        pa.field("y", pa.int32()),
        pa.field("x", pa.int32()),
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
# One row: the shard's whole result, so that the file is the shard's done mark.
SHARD = _schema(
    "shard",
    (
        ("images", pa.list_(_SHARD_IMAGE), "images scanned, by image index"),
        ("rejects", pa.list_(_SHARD_REJECT), "images not used, by image index"),
        ("top", pa.list_(_SHARD_TOP), "per layer and channel the k best; key says what counts once"),
        ("statistics", pa.list_(_SHARD_STATISTICS), "per layer and channel, over the scores of this shard"),
    ),
)
# A projection group: rows of one shard's images, sorted by (layer_index, channel, rank); previews have layer_index -1.
PROJECTED = _schema(
    "projected",
    (
        ("layer_index", pa.int32(), "layer of the unit; -1 for a preview"),
        ("channel", pa.int32(), "channel of the unit; -1 for a preview"),
        ("rank", pa.int32(), "rank of the image; -1 for a preview"),
        ("image_index", pa.int64(), "row number of the image in the corpus manifest"),
        ("patch", pa.binary(), "encoded patch, or the encoded preview"),
        ("projection", pa.binary(), "encoded projection; null for a preview or if the score is not positive"),
        ("projection_scale", pa.float32(), "largest absolute value of the projection"),
        ("exact", pa.bool_(), "every node on the way has a downward step in the paper"),
    ),
)
