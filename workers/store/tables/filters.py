"""The table of first-layer filters. Takes nothing, gives schemas."""

import pyarrow as pa

from workers.store.columns import IMAGE, Column, Table, schema_of

FILTERS = Table(
    "filters",
    schema_of(
        "filters",
        (
            Column(1, "model", pa.string(), "source of the model"),
            Column(2, "model_index", pa.int32(), "position of the model in the run's spec"),
            Column(3, "layer", pa.string(), "the model's first convolution"),
            Column(4, "channel", pa.int32(), "number of the kernel"),
            Column(
                5,
                "kernel",
                IMAGE,
                "the kernel as a picture, on a linear scale: zero is mid-grey, and the largest absolute value fills the range",
            ),
            Column(6, "height", pa.int32(), "height of the kernel, in pixels"),
            Column(7, "width", pa.int32(), "width of the kernel, in pixels"),
            Column(8, "stride_y", pa.int32(), "stride of the convolution, rows"),
            Column(9, "stride_x", pa.int32(), "stride of the convolution, columns"),
            Column(10, "norm", pa.float64(), "Euclidean norm of the kernel"),
            Column(
                11,
                "peak_frequency",
                pa.float64(),
                "cycles per pixel at which the energy is largest; null for a dead kernel",
            ),
            Column(
                12,
                "orientation_deg",
                pa.float64(),
                "direction in which the kernel varies most, in degrees from the x axis towards the top, 0 to 180; null where "
                "there is none",
            ),
            Column(
                13,
                "high_frequency_share",
                pa.float64(),
                "share of energy above 0.25 cycles per pixel; null for a dead kernel",
            ),
            Column(
                14,
                "aliasing_share",
                pa.float64(),
                "share of energy above the Nyquist limit of the stride; null for a dead kernel",
            ),
            Column(15, "dead", pa.bool_(), "the norm is below 1 % of the layer's largest"),
            Column(
                16,
                "duplicate_of",
                pa.int32(),
                "first earlier channel whose kernel has a cosine similarity above 0.99 with this one, or null",
            ),
            Column(17, "layer_aliasing_share", pa.float64(), "aliasing_share of all kernels' energy together"),
        ),
    ),
    sorted_by=("model_index", "channel"),
    group_rows=1024,
)

TABLES = (FILTERS,)
RESULTS: tuple[pa.Schema, ...] = ()
