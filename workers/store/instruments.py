"""The datasets of the instruments beside the scan, written once. Takes nothing, gives tables of columns."""

import pyarrow as pa

from workers.store.columns import IMAGE, IMAGE_KEY, KEY, Column, Table, schema_of, shifted

OCCLUSION: tuple[Column, ...] = (
    *shifted(KEY[:2], 4),
    Column(7, "channel", pa.int32(), "channel that holds the layer's largest activation in the unoccluded image"),
    Column(8, "activation", pa.float64(), "sum over this channel's map in the unoccluded image"),
    Column(9, "class_index", pa.int32(), "class whose probability is followed"),
    Column(10, "class_name", pa.string(), "its name, null where none is known"),
    Column(
        11,
        "target",
        pa.string(),
        "what was asked: label, or a class; predicted: the unoccluded image's most probable class",
    ),
    Column(12, "probability", pa.float32(), "probability of this class in the unoccluded image"),
    Column(13, "predicted_index", pa.int32(), "most probable class of the unoccluded image"),
    Column(14, "predicted_name", pa.string(), "its name, null where none is known"),
    Column(15, "rows", pa.int32(), "positions of the square from top to bottom"),
    Column(16, "cols", pa.int32(), "positions of the square from left to right"),
    Column(17, "activation_map", pa.list_(pa.float32()), "sum over the channel's map by position, row-major"),
    Column(18, "probability_map", pa.list_(pa.float32()), "probability of the followed class by position, row-major"),
    Column(19, "class_map", pa.list_(pa.int32()), "most probable class by position, row-major"),
    Column(
        20,
        "classes",
        pa.list_(pa.struct([pa.field("class_index", pa.int32()), pa.field("class_name", pa.string())])),
        "classes that occur in class_map, the commonest first",
    ),
    Column(21, "panel_image", IMAGE, "the model's input with the square in its middle position"),
    Column(22, "panel_activation", IMAGE, "plot of activation_map"),
    Column(
        23,
        "panel_projection",
        IMAGE,
        "projection of the channel's strongest unit, with those of another run's top images",
    ),
    Column(24, "panel_probability", IMAGE, "plot of probability_map"),
    Column(25, "panel_class", IMAGE, "plot of class_map"),
    Column(26, "size", pa.int32(), "side of the square, model-input pixels"),
    Column(
        27,
        "stride",
        pa.int32(),
        "between neighbouring positions; position (i, j) has its corner at (i stride, j stride)",
    ),
    Column(28, "fill", pa.string(), "what the square shows: grey, mean or blur"),
    Column(29, "original", IMAGE, "the model's input, for the eye: lossy where large"),
)
OCCLUSIONS = Table(
    "occlusions",
    schema_of("occlusions", (*IMAGE_KEY, Column(4, "label", pa.string(), "label of the image, or null"), *OCCLUSION)),
    sorted_by=("image_index", "layer_index"),
    group_rows=16,
)
INVERSION: tuple[Column, ...] = (
    *shifted(KEY[:2], 4),
    Column(7, "restart", pa.int32(), "number of the beginning, from 0"),
    Column(
        8,
        "status",
        pa.string(),
        "ok; diverged: at a lower rate too, the image is that of the least error; stuck: no better than it began; "
        "blank: the original's features are all 0",
    ),
    Column(
        9,
        "error",
        pa.float64(),
        "squared distance of the features to the stored ones over their squared norm; null: blank",
    ),
    Column(
        10,
        "error_curve",
        pa.list_(pa.float32()),
        "the error at the start and after each iteration, of pixels not cut or rounded; null: diverged",
    ),
    Column(11, "inversion", IMAGE, "the image that was found, pixels cut to 0 to 255, lossless; null: blank"),
    Column(12, "original", IMAGE, "the model's input, for the eye: lossy where large"),
    Column(13, "settings", pa.string(), "weights, rate and all else that the inversion was told, as JSON"),
)
INVERSIONS = Table(
    "inversions",
    schema_of("inversions", (*IMAGE_KEY, Column(4, "label", pa.string(), "label of the image, or null"), *INVERSION)),
    sorted_by=("image_index", "layer_index", "restart"),
    group_rows=64,
)
MOVED: tuple[Column, ...] = (
    *shifted(KEY[:2], 4),
    Column(
        7,
        "transform",
        pa.string(),
        "translate_y: down, translate_x: to the right, scale: above 1 larger, rotate: counter-clockwise; about the centre",
    ),
    Column(
        8, "amount", pa.float64(), "model-input pixels, a factor, or degrees; 0, 1 and 0 are the untransformed image"
    ),
    Column(
        9, "distance", pa.float64(), "Euclidean distance of the layer's features to those of the untransformed image"
    ),
    Column(
        10,
        "relative_distance",
        pa.float64(),
        "distance over the norm of the untransformed image's features; null where that is 0",
    ),
    Column(11, "class_index", pa.int32(), "class whose probability is followed"),
    Column(12, "class_name", pa.string(), "its name, null where none is known"),
    Column(
        13,
        "target",
        pa.string(),
        "what was asked: label, or a class; predicted: the untransformed image's most probable class",
    ),
    Column(
        14,
        "probability",
        pa.float32(),
        "probability of this class in the transformed image; the same in every layer's row",
    ),
    Column(15, "predicted_index", pa.int32(), "most probable class of the transformed image"),
    Column(16, "predicted_name", pa.string(), "its name, null where none is known"),
    Column(17, "border", pa.string(), "what is seen beyond the image's border: grey, edge, reflect or wrap"),
    Column(
        18, "picture", IMAGE, "the transformed image, at some amounts and in the first layer's rows; lossy where large"
    ),
)
INVARIANCE = Table(
    "invariance",
    schema_of("invariance", (*IMAGE_KEY, Column(4, "label", pa.string(), "label of the image, or null"), *MOVED)),
    sorted_by=("image_index", "layer_index", "transform", "amount"),
    group_rows=256,
)
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
                "part: the boxes as given; random: boxes of the same sizes at random places, in each image another; "
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
                "share of units whose signs of change (-1, 0, 1) are unequal, mean over pairs; if drawn, mean over draws "
                "of that; null without a pair",
            ),
            Column(
                10,
                "std",
                pa.float64(),
                "standard deviation of that share over pairs; if drawn, of its means over draws",
            ),
            Column(
                11,
                "standard_error",
                pa.float64(),
                "of delta, by leaving out each image in turn, null below three; if drawn, of the mean over draws",
            ),
            Column(
                12, "changed_share", pa.float64(), "share of units that change at all, mean over images (and draws)"
            ),
            Column(
                13,
                "delta_changed",
                pa.float64(),
                "as delta, as a share of the units that change in one image of the pair or in both; null where none does",
            ),
            Column(14, "left_out", pa.int32(), "images that have the part and in which it could not be hidden"),
            Column(15, "why_left_out", pa.string(), "these images and the reasons, or null"),
            Column(16, "fill", pa.string(), "what a hidden box shows: grey, mean or blur"),
            Column(17, "seed", pa.int64(), "of the random places"),
            Column(
                18,
                "picture",
                IMAGE,
                "some images with the part hidden, or with the first draw's boxes; in the first layer's rows",
            ),
        ),
    ),
    sorted_by=("layer_index", "part", "kind"),
    group_rows=64,
)
LIKENESS: tuple[Column, ...] = (
    *shifted(KEY, 4),
    Column(8, "rank", pa.int32(), "the image's rank in the channel's top of the scan"),
    Column(9, "score", pa.float32(), "the unit's activation in the trained network, as the scan has it"),
    Column(10, "y", pa.int32(), "row of the unit in the feature map"),
    Column(11, "x", pa.int32(), "column of the unit in the feature map"),
    Column(12, "method", pa.string(), "deconvnet, guided_backprop or gradient"),
    Column(
        13,
        "mode",
        pa.string(),
        "what is compared with the trained network's projection. trained: itself, computed again; cascading: that of a network "
        "whose layers are random from the unit's own down to the stage's; independent: the stage's layers alone are random; "
        "other_channel: the trained network's projection of another channel that is awake at the same location, the floor to "
        "read others against",
    ),
    Column(14, "seed", pa.int64(), "of the random weights; null where there are none"),
    Column(
        15, "stage", pa.int32(), "stage of the randomisation, from 1 at the unit's own layer; 0 where nothing is random"
    ),
    Column(16, "stage_node", pa.string(), "the stage's lowest convolution or fully connected layer; null at stage 0"),
    Column(17, "other", pa.int32(), "the other channel; null but for other_channel"),
    Column(18, "status", pa.string(), "ok; blank: the projection is 0 everywhere and cannot be compared"),
    Column(19, "rank_correlation", pa.float64(), "Spearman's, of the signed values of both projections; null: blank"),
    Column(
        20, "rank_correlation_abs", pa.float64(), "Spearman's, of the absolute values of both projections; null: blank"
    ),
    Column(
        21,
        "ssim",
        pa.float64(),
        "mean structural similarity of the absolute values summed over colours, each map's largest 1, windows of 7 x 7 px; "
        "null: blank, or the receptive field is smaller than that",
    ),
    Column(22, "patch", IMAGE, "what the unit saw, as in `patches`; null but for trained"),
    Column(
        23,
        "projection",
        IMAGE,
        "the projection, as in `patches`; begins with the unit's activation in the trained network, so its scale says nothing "
        "where weights are random. Null for other_channel, seeds behind the first, independent beside cascading; and where blank",
    ),
    Column(24, "projection_scale", pa.float32(), "largest absolute value of the projection"),
)
SANITY = Table(
    "sanity",
    schema_of("sanity", (*IMAGE_KEY, Column(4, "label", pa.string(), "label of the image, or null"), *LIKENESS)),
    sorted_by=("image_index", "layer_index", "channel", "rank", "method", "mode", "seed", "stage", "other"),
    group_rows=256,
)
FILTERS = Table(
    "filters",
    schema_of(
        "filters",
        (
            Column(1, "model", pa.string(), "source of the model"),
            Column(2, "model_index", pa.int32(), "position of the model in the run's spec"),
            Column(3, "layer", pa.string(), "the model's first convolution"),
            Column(4, "channel", pa.int32(), "kernel"),
            Column(5, "kernel", IMAGE, "the kernel: linear, mid-grey is zero, its largest value fills the range"),
            Column(6, "height", pa.int32(), "height of the kernel, pixels"),
            Column(7, "width", pa.int32(), "width of the kernel, pixels"),
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
                "direction of the change, degrees from the x axis towards the top, 0 to 180; null where there is none",
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
                "share of energy that the stride cannot carry; null for a dead kernel",
            ),
            Column(15, "dead", pa.bool_(), "the norm is below 1 % of the layer's largest"),
            Column(16, "duplicate_of", pa.int32(), "first earlier channel with a cosine above 0.99, or null"),
            Column(17, "layer_aliasing_share", pa.float64(), "aliasing_share of all kernels' energy together"),
        ),
    ),
    sorted_by=("model_index", "channel"),
    group_rows=1024,
)
