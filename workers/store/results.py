"""What workers and jobs store for each other, written once. Takes nothing, gives the schemas of manifests and results."""

from collections.abc import Mapping

import pyarrow as pa

from workers.store.columns import IMAGE, Column, schema_of
from workers.store.instruments import INVERSION, LIKENESS, MOVED, OCCLUSION

MANIFEST = schema_of(
    "manifest",
    (
        Column(1, "image_id", pa.string(), "stable key of the image: its path below the corpus"),
        Column(2, "uri", pa.string(), "where the image is read from"),
        Column(3, "bytes", pa.int64(), "size of the file"),
        Column(
            4,
            "etag",
            pa.string(),
            "what changes when the file changes: the store's etag, locally mtime_ns and ctime_ns",
        ),
        Column(5, "label", pa.string(), "label, or null"),
        Column(6, "group", pa.string(), "group, or null"),
        Column(7, "removed", pa.bool_(), "no longer in the corpus; the row stays so that the others keep their number"),
        Column(8, "refused", pa.string(), "reason for which the listing itself rejects the file, or null"),
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
        Column(1, "images", pa.list_(_SHARD_IMAGE), "images scanned, by image index"),
        Column(2, "rejects", pa.list_(_SHARD_REJECT), "images not used, by image index"),
        Column(3, "top", pa.list_(_SHARD_TOP), "per layer and channel the k best; key says what counts once"),
        Column(4, "statistics", pa.list_(_SHARD_STATISTICS), "per layer and channel, over the scores of this shard"),
    ),
)
# A projection group: a row for each unit, sorted by (layer_index, channel, rank); then one with the preview of each image.
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
    ),
)


def _of_images(name: str, columns: tuple[Column, ...], doc: str) -> pa.Schema:
    """What an instrument finds in one image, with the image as the shards account for it; images are encoded."""
    found = [pa.field(column.name, pa.binary() if column.type == IMAGE else column.type) for column in columns]
    row = pa.struct([pa.field("image_index", pa.int64()), *found])
    return schema_of(
        name,
        (
            Column(1, "images", pa.list_(_SHARD_IMAGE), "the image, if it was used"),
            Column(2, "rejects", pa.list_(_SHARD_REJECT), "the image, if it was not"),
            Column(3, "found", pa.list_(row), doc),
        ),
    )


OCCLUDED = _of_images("occluded", OCCLUSION, "the row of `occlusions`")
INVERTED = _of_images("inverted", INVERSION, "the rows of `inversions` of one layer, by restart")
TRANSFORMED = _of_images("transformed", MOVED, "the rows of `invariance`, by layer, transform and amount")
_HIDDEN: tuple[Column, ...] = (
    Column(1, "layer_index", pa.int32(), "position of the layer; null with a reason"),
    Column(2, "part", pa.string(), "name of the part"),
    Column(3, "kind", pa.string(), "part, random or together, as in `correspondence`; null with a reason"),
    Column(4, "draw", pa.int32(), "number of the random place, from 0; null with a reason"),
    Column(5, "positive", pa.binary(), "a bit for each unit that falls when the box is hidden"),
    Column(6, "negative", pa.binary(), "a bit for each unit that rises"),
    Column(7, "units", pa.int64(), "units of the layer"),
    Column(8, "reason", pa.string(), "why the part could not be hidden, or null"),
    Column(9, "picture", IMAGE, "the image with the box hidden, in the first layer's rows of the first draw"),
)
HIDDEN = _of_images("hidden", _HIDDEN, "signs of change by part, kind, draw and layer")
CHECKED = _of_images("checked", LIKENESS, "the rows of `sanity`")

# By the name in a file's metadata.
RESULTS: Mapping[str, pa.Schema] = {
    schema.metadata[b"deconvoy.schema"].decode(): schema
    for schema in (SHARD, PROJECTED, OCCLUDED, INVERTED, TRANSFORMED, HIDDEN, CHECKED)
}
