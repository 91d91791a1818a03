"""The table and results of correspondence. Takes nothing, gives schemas."""

import pyarrow as pa

from workers.store.columns import IMAGE, KEY, Column, Table, schema_of
from workers.store.tables.shared import result_of_image

CORRESPONDENCE = Table(
    "correspondence",
    schema_of(
        "correspondence",
        (
            *KEY[:2],
            Column(3, "part", pa.string(), "name of the part"),
            Column(
                4,
                "kind",
                pa.string(),
                "part: the boxes as given; random: boxes of the same sizes at random places, different in each image; "
                "together: at random places that all images share",
            ),
            Column(5, "images", pa.int32(), "images in which the part was hidden"),
            Column(6, "pairs", pa.int64(), "pairs of these images"),
            Column(7, "units", pa.int64(), "units of the layer"),
            Column(8, "draws", pa.int32(), "times that random places were drawn; 1 for the part"),
            Column(
                9,
                "delta",
                pa.float64(),
                "share of units whose signs of change (-1, 0, 1) differ, as a mean over pairs; for random and together, "
                "the mean of this over the draws; null if there is no pair",
            ),
            Column(
                10,
                "std",
                pa.float64(),
                "standard deviation of that share over pairs; for random and together, over the mean shares of the draws",
            ),
            Column(
                11,
                "standard_error",
                pa.float64(),
                "jackknife standard error of delta, leaving out each image in turn; null for fewer than three images; for random "
                "and together, standard error of the mean over the draws",
            ),
            Column(
                12, "changed_share", pa.float64(), "share of units that change at all, mean over images (and draws)"
            ),
            Column(
                13,
                "delta_changed",
                pa.float64(),
                "like delta, but as a share of the units that change in at least one image of the pair; null if none does",
            ),
            Column(14, "left_out", pa.int32(), "images that have the part, but in which it could not be hidden"),
            Column(15, "why_left_out", pa.string(), "these images and the reasons, or null"),
            Column(16, "fill", pa.string(), "what a hidden box shows: grey, mean or blur"),
            Column(17, "seed", pa.int64(), "random seed for the places"),
            Column(
                18,
                "picture",
                IMAGE,
                "some images with the part hidden, or with the boxes of the first draw hidden; stored only in the first layer's "
                "rows",
            ),
        ),
    ),
    sorted_by=("layer_index", "part", "kind"),
    group_rows=64,
)

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

HIDDEN = result_of_image("hidden", _HIDDEN, "signs of change by part, kind, draw and layer")

TABLES = (CORRESPONDENCE,)
RESULTS: tuple[pa.Schema, ...] = (HIDDEN,)
