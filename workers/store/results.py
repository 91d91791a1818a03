"""What workers and jobs store for each other, written once. Takes nothing, gives the schemas of manifests and results."""

from collections.abc import Mapping

import pyarrow as pa

from workers.store.columns import IMAGE, Column, schema_of
from workers.store.instruments import INVERSION, LIKENESS, MOVED, OCCLUSION

MANIFEST = schema_of(
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
SHARD = schema_of(
    "shard",
    (
        ("images", pa.list_(_SHARD_IMAGE), "images scanned, by image index"),
        ("rejects", pa.list_(_SHARD_REJECT), "images not used, by image index"),
        ("top", pa.list_(_SHARD_TOP), "per layer and channel the k best; key says what counts once"),
        ("statistics", pa.list_(_SHARD_STATISTICS), "per layer and channel, over the scores of this shard"),
    ),
)
# A projection group: a row for each unit, sorted by (layer_index, channel, rank); then one with the preview of each image.
PROJECTED = schema_of(
    "projected",
    (
        ("layer_index", pa.int32(), "layer of the unit; null in an image's row"),
        ("channel", pa.int32(), "channel of the unit; null in an image's row"),
        ("rank", pa.int32(), "rank of the image; null in an image's row"),
        ("image_index", pa.int64(), "row number of the image in the corpus manifest"),
        ("patch", pa.binary(), "encoded patch"),
        ("projection", pa.binary(), "encoded projection; null if the score is not positive"),
        ("projection_scale", pa.float32(), "largest absolute value of the projection"),
        ("exact", pa.bool_(), "every node on the way has a downward step in the paper"),
        ("preview", pa.binary(), "encoded preview of the image; null in a unit's row"),
    ),
)


def _of_images(name: str, columns: tuple[Column, ...], doc: str) -> pa.Schema:
    """What an instrument finds in one image, with the image as the shards account for it; images are encoded."""
    found = [pa.field(column, pa.binary() if kind == IMAGE else kind) for column, kind, _ in columns]
    row = pa.struct([pa.field("image_index", pa.int64()), *found])
    return schema_of(
        name,
        (
            ("images", pa.list_(_SHARD_IMAGE), "the image, if it was used"),
            ("rejects", pa.list_(_SHARD_REJECT), "the image, if it was not"),
            ("found", pa.list_(row), doc),
        ),
    )


OCCLUDED = _of_images("occluded", OCCLUSION, "the row of `occlusions`")
INVERTED = _of_images("inverted", INVERSION, "the rows of `inversions` of one layer, by restart")
TRANSFORMED = _of_images("transformed", MOVED, "the rows of `invariance`, by layer, transform and amount")
_HIDDEN: tuple[Column, ...] = (
    ("layer_index", pa.int32(), "position of the layer; null with a reason"),
    ("part", pa.string(), "name of the part"),
    ("kind", pa.string(), "part, random or together, as in `correspondence`; null with a reason"),
    ("draw", pa.int32(), "number of the random place, from 0; null with a reason"),
    ("positive", pa.binary(), "a bit for each unit that falls when the box is hidden"),
    ("negative", pa.binary(), "a bit for each unit that rises"),
    ("units", pa.int64(), "units of the layer"),
    ("reason", pa.string(), "why the part could not be hidden, or null"),
    ("picture", IMAGE, "the image with the box hidden, in the first layer's rows of the first draw"),
)
HIDDEN = _of_images("hidden", _HIDDEN, "signs of change by part, kind, draw and layer")
CHECKED = _of_images("checked", LIKENESS, "the rows of `sanity`")

# By the name in a file's metadata.
RESULTS: Mapping[str, pa.Schema] = {
    schema.metadata[b"deconvoy.schema"].decode(): schema
    for schema in (SHARD, PROJECTED, OCCLUDED, INVERTED, TRANSFORMED, HIDDEN, CHECKED)
}
