"""Tables that runs of several kinds share: runs, images, rejects, labels; and corpus manifests. Takes nothing, gives schemas."""

import pyarrow as pa

from workers.store.columns import IMAGE, IMAGE_KEY, Column, Table, schema_of

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
            Column(9, "layers", pa.int32(), "number of layers scanned"),
            Column(10, "channels", pa.int32(), "number of channels scanned, over all layers"),
            Column(11, "seconds", pa.float64(), "time of the attempt that published the run, in seconds"),
            Column(
                12,
                "images_per_s",
                pa.float64(),
                "scan rate of this attempt, images per second; null if it scanned none",
            ),
            Column(13, "versions", pa.string(), "versions of the software, as JSON"),
            Column(
                14,
                "half_precision_share",
                pa.float64(),
                "share of the channels whose 9 best images differ between half precision and float32, among the images of a "
                "sample; null in float32, in runs of earlier versions, and if that sample has fewer than 10 usable images",
            ),
            Column(
                15,
                "half_precision_images",
                pa.int64(),
                "images of that sample that could be used; null in float32, and in runs of earlier versions",
            ),
            Column(
                16,
                "passed_over",
                pa.string(),
                "number of files and folders of the corpus that were not listed, by reason, as JSON",
            ),
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
            Column(6, "width", pa.int32(), "width of the upright image, in pixels"),
            Column(7, "height", pa.int32(), "height of the upright image, in pixels"),
            Column(8, "bytes", pa.int64(), "size of the file; for a video frame, size of its decoded pixels"),
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
            Column(4, "bytes", pa.int64(), "size of the file; 0 if unknown, as for a frame of a video"),
            Column(5, "reason", pa.string(), "why it was not used, one of a fixed set of words"),
            Column(6, "detail", pa.string(), "message of the decoder, or the limit that was exceeded"),
        ),
    ),
    sorted_by=("image_index",),
)

LABELS = Table(
    "labels",
    schema_of(
        "labels",
        (
            Column(1, "image_index", pa.int64(), "row number of the image in the corpus manifest"),
            Column(2, "image_id", pa.string(), "stable key of the image, such as its path below the corpus"),
            Column(
                3, "label", pa.string(), "label that replaces the label of the image in every table; null: it has none"
            ),
        ),
    ),
    sorted_by=("image_index",),
)

MANIFEST = schema_of(
    "manifest",
    (
        Column(1, "image_id", pa.string(), "stable key of the image, such as its path below the corpus"),
        Column(2, "uri", pa.string(), "where the image is read from"),
        Column(
            3,
            "bytes",
            pa.int64(),
            "size of the file; -1 for images in Parquet, whose size is unknown until they are read",
        ),
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

SHARD_IMAGE = pa.struct(
    [
        pa.field("image_index", pa.int64()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("bytes", pa.int64()),
        pa.field("sha256", pa.string()),
        pa.field("decoder", pa.string()),
    ]
)

SHARD_REJECT = pa.struct(
    [
        pa.field("image_index", pa.int64()),
        pa.field("bytes", pa.int64()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
    ]
)


def result_of_image(name: str, columns: tuple[Column, ...], doc: str) -> pa.Schema:
    """The schema of an instrument's result for one image: the image or its reject, and the rows found. Images are encoded."""
    fields = [pa.field(column.name, pa.binary() if column.type == IMAGE else column.type) for column in columns]
    row = pa.struct([pa.field("image_index", pa.int64()), *fields])
    return schema_of(
        name,
        (
            Column(1, "images", pa.list_(SHARD_IMAGE), "the image, if it was used"),
            Column(2, "rejects", pa.list_(SHARD_REJECT), "the image, if it was not"),
            Column(3, "found", pa.list_(row), doc),
        ),
    )
