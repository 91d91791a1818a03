"""The datasets of the instruments beside the scan, written once. Takes nothing, gives tables of columns."""

import pyarrow as pa

from workers.store.columns import IMAGE, IMAGE_KEY, KEY, Column, Table, schema_of

OCCLUSION: tuple[Column, ...] = (
    *KEY[:2],
    ("channel", pa.int32(), "channel that holds the layer's largest activation in the unoccluded image"),
    ("activation", pa.float64(), "sum over this channel's map in the unoccluded image"),
    ("class_index", pa.int32(), "class whose probability is followed"),
    ("class_name", pa.string(), "its name, null where none is known"),
    ("target", pa.string(), "what was asked: label, or a class; predicted: the unoccluded image's most probable class"),
    ("probability", pa.float32(), "probability of this class in the unoccluded image"),
    ("predicted_index", pa.int32(), "most probable class of the unoccluded image"),
    ("predicted_name", pa.string(), "its name, null where none is known"),
    ("rows", pa.int32(), "positions of the square from top to bottom"),
    ("cols", pa.int32(), "positions of the square from left to right"),
    ("activation_map", pa.list_(pa.float32()), "sum over the channel's map by position, row-major"),
    ("probability_map", pa.list_(pa.float32()), "probability of the followed class by position, row-major"),
    ("class_map", pa.list_(pa.int32()), "most probable class by position, row-major"),
    (
        "classes",
        pa.list_(pa.struct([pa.field("class_index", pa.int32()), pa.field("class_name", pa.string())])),
        "classes that occur in class_map, the commonest first",
    ),
    ("panel_image", IMAGE, "the model's input with the square in its middle position"),
    ("panel_activation", IMAGE, "plot of activation_map"),
    ("panel_projection", IMAGE, "projection of the channel's strongest unit, with those of another run's top images"),
    ("panel_probability", IMAGE, "plot of probability_map"),
    ("panel_class", IMAGE, "plot of class_map"),
    ("size", pa.int32(), "side of the square, model-input pixels"),
    ("stride", pa.int32(), "between neighbouring positions; position (i, j) has its corner at (i stride, j stride)"),
    ("fill", pa.string(), "what the square shows: grey, mean or blur"),
    ("original", IMAGE, "the model's input, for the eye: lossy where large"),
)
OCCLUSIONS = Table(
    "occlusions",
    schema_of("occlusions", (*IMAGE_KEY, ("label", pa.string(), "label of the image, or null"), *OCCLUSION)),
    sorted_by=("image_index", "layer_index"),
    group_rows=16,
)
INVERSION: tuple[Column, ...] = (
    *KEY[:2],
    ("restart", pa.int32(), "number of the beginning, from 0"),
    (
        "status",
        pa.string(),
        "ok; diverged: at a lower rate too, the image is that of the least error; stuck: no better than it began; "
        "blank: the original's features are all 0",
    ),
    ("error", pa.float64(), "squared distance of the features to the stored ones over their squared norm; null: blank"),
    (
        "error_curve",
        pa.list_(pa.float32()),
        "the error at the start and after each iteration, of pixels not cut or rounded; null: diverged",
    ),
    ("inversion", IMAGE, "the image that was found, pixels cut to 0 to 255, lossless; null: blank"),
    ("original", IMAGE, "the model's input, for the eye: lossy where large"),
    ("settings", pa.string(), "weights, rate and all else that the inversion was told, as JSON"),
)
INVERSIONS = Table(
    "inversions",
    schema_of("inversions", (*IMAGE_KEY, ("label", pa.string(), "label of the image, or null"), *INVERSION)),
    sorted_by=("image_index", "layer_index", "restart"),
    group_rows=64,
)
MOVED: tuple[Column, ...] = (
    *KEY[:2],
    (
        "transform",
        pa.string(),
        "translate_y: down, translate_x: to the right, scale: above 1 larger, rotate: counter-clockwise; about the centre",
    ),
    ("amount", pa.float64(), "model-input pixels, a factor, or degrees; 0, 1 and 0 are the untransformed image"),
    ("distance", pa.float64(), "Euclidean distance of the layer's features to those of the untransformed image"),
    (
        "relative_distance",
        pa.float64(),
        "distance over the norm of the untransformed image's features; null where that is 0",
    ),
    ("class_index", pa.int32(), "class whose probability is followed"),
    ("class_name", pa.string(), "its name, null where none is known"),
    (
        "target",
        pa.string(),
        "what was asked: label, or a class; predicted: the untransformed image's most probable class",
    ),
    ("probability", pa.float32(), "probability of this class in the transformed image; the same in every layer's row"),
    ("predicted_index", pa.int32(), "most probable class of the transformed image"),
    ("predicted_name", pa.string(), "its name, null where none is known"),
    ("border", pa.string(), "what is seen beyond the image's border: grey, edge, reflect or wrap"),
    ("picture", IMAGE, "the transformed image, at some amounts and in the first layer's rows; lossy where large"),
)
INVARIANCE = Table(
    "invariance",
    schema_of("invariance", (*IMAGE_KEY, ("label", pa.string(), "label of the image, or null"), *MOVED)),
    sorted_by=("image_index", "layer_index", "transform", "amount"),
    group_rows=256,
)
CORRESPONDENCE = Table(
    "correspondence",
    schema_of(
        "correspondence",
        (
            *KEY[:2],
            ("part", pa.string(), "name of the part"),
            (
                "kind",
                pa.string(),
                "part: the boxes as given; random: boxes of the same sizes at random places, in each image another; "
                "together: at random places that all images share",
            ),
            ("images", pa.int32(), "images in which the part was hidden"),
            ("pairs", pa.int64(), "pairs of these images"),
            ("units", pa.int64(), "units of the layer"),
            ("draws", pa.int32(), "times that random places were drawn; 1 for the part"),
            (
                "delta",
                pa.float64(),
                "share of units whose signs of change (-1, 0, 1) are unequal, mean over pairs; if drawn, mean over draws "
                "of that; null without a pair",
            ),
            (
                "std",
                pa.float64(),
                "standard deviation of that share over pairs; if drawn, of its means over draws",
            ),
            (
                "standard_error",
                pa.float64(),
                "of delta, by leaving out each image in turn, null below three; if drawn, of the mean over draws",
            ),
            ("changed_share", pa.float64(), "share of units that change at all, mean over images (and draws)"),
            (
                "delta_changed",
                pa.float64(),
                "as delta, as a share of the units that change in one image of the pair or in both; null where none does",
            ),
            ("left_out", pa.int32(), "images that have the part and in which it could not be hidden"),
            ("why_left_out", pa.string(), "these images and the reasons, or null"),
            ("fill", pa.string(), "what a hidden box shows: grey, mean or blur"),
            ("seed", pa.int64(), "of the random places"),
            (
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
    *KEY,
    ("rank", pa.int32(), "the image's rank in the channel's top of the scan"),
    ("score", pa.float32(), "the unit's activation in the trained network, as the scan has it"),
    ("y", pa.int32(), "row of the unit in the feature map"),
    ("x", pa.int32(), "column of the unit in the feature map"),
    ("method", pa.string(), "deconvnet, guided_backprop or gradient"),
    (
        "mode",
        pa.string(),
        "what is compared with the trained network's projection. trained: itself, computed again; cascading: that of a network "
        "whose layers are random from the unit's own down to the stage's; independent: the stage's layers alone are random; "
        "other_channel: the trained network's projection of another channel that is awake at the same location, the floor to "
        "read others against",
    ),
    ("seed", pa.int64(), "of the random weights; null where there are none"),
    ("stage", pa.int32(), "stage of the randomisation, from 1 at the unit's own layer; 0 where nothing is random"),
    ("stage_node", pa.string(), "the stage's lowest convolution or fully connected layer; null at stage 0"),
    ("other", pa.int32(), "the other channel; null but for other_channel"),
    ("status", pa.string(), "ok; blank: the projection is 0 everywhere and cannot be compared"),
    ("rank_correlation", pa.float64(), "Spearman's, of the signed values of both projections; null: blank"),
    ("rank_correlation_abs", pa.float64(), "Spearman's, of the absolute values of both projections; null: blank"),
    (
        "ssim",
        pa.float64(),
        "mean structural similarity of the absolute values summed over colours, each map's largest 1, windows of 7 x 7 px; "
        "null: blank, or the receptive field is smaller than that",
    ),
    ("patch", IMAGE, "what the unit saw, as in `patches`; null but for trained"),
    (
        "projection",
        IMAGE,
        "the projection, as in `patches`; begins with the unit's activation in the trained network, so its scale says nothing "
        "where weights are random. Null for other_channel, seeds behind the first, independent beside cascading; and where blank",
    ),
    ("projection_scale", pa.float32(), "largest absolute value of the projection"),
)
SANITY = Table(
    "sanity",
    schema_of("sanity", (*IMAGE_KEY, ("label", pa.string(), "label of the image, or null"), *LIKENESS)),
    sorted_by=("image_index", "layer_index", "channel", "rank", "method", "mode", "seed", "stage", "other"),
    group_rows=256,
)
FILTERS = Table(
    "filters",
    schema_of(
        "filters",
        (
            ("model", pa.string(), "source of the model"),
            ("model_index", pa.int32(), "position of the model in the run's spec"),
            ("layer", pa.string(), "the model's first convolution"),
            ("channel", pa.int32(), "kernel"),
            ("kernel", IMAGE, "the kernel: linear, mid-grey is zero, its largest value fills the range"),
            ("height", pa.int32(), "height of the kernel, pixels"),
            ("width", pa.int32(), "width of the kernel, pixels"),
            ("stride_y", pa.int32(), "stride of the convolution, rows"),
            ("stride_x", pa.int32(), "stride of the convolution, columns"),
            ("norm", pa.float64(), "Euclidean norm of the kernel"),
            ("peak_frequency", pa.float64(), "cycles per pixel at which the energy is largest; null for a dead kernel"),
            (
                "orientation_deg",
                pa.float64(),
                "direction of the change, degrees from the x axis towards the top, 0 to 180; null where there is none",
            ),
            (
                "high_frequency_share",
                pa.float64(),
                "share of energy above 0.25 cycles per pixel; null for a dead kernel",
            ),
            ("aliasing_share", pa.float64(), "share of energy that the stride cannot carry; null for a dead kernel"),
            ("dead", pa.bool_(), "the norm is below 1 % of the layer's largest"),
            ("duplicate_of", pa.int32(), "first earlier channel with a cosine above 0.99, or null"),
            ("layer_aliasing_share", pa.float64(), "aliasing_share of all kernels' energy together"),
        ),
    ),
    sorted_by=("model_index", "channel"),
    group_rows=1024,
)
