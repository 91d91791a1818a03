"""The registry of rules. Takes the name of an operation of torch, gives the rule that lowers it."""

from collections.abc import Mapping

from workers.core import rectifiers
from workers.core.lowering import Rule
from workers.core.rules import joining, maps, pointwise, views

RULES: Mapping[str, Rule] = {
    "input": views.take_input,
    "conv2d": maps.convolution,
    "conv_transpose2d": maps.transposed_convolution,
    "batch_norm": maps.batch_norm,
    **dict.fromkeys(("layer_norm", "rms_norm"), maps.layer_norm),
    "local_response_norm": maps.local_response_norm,
    "group_norm": maps.group_norm,
    "linear": maps.linear,
    "max_pool2d": maps.max_pool,
    "avg_pool2d": maps.average_pool,
    "adaptive_avg_pool2d": maps.adaptive_average_pool,
    "mean": maps.mean,
    "pixel_shuffle": maps.pixel_shuffle,
    "pixel_unshuffle": maps.pixel_unshuffle,
    **dict.fromkeys(("upsample_nearest2d", "_upsample_nearest_exact2d"), maps.resize),
    **dict.fromkeys(("upsample_bilinear2d", "upsample_bicubic2d"), maps.resize),
    **dict.fromkeys(rectifiers.FUNCTIONS, pointwise.rectifier),
    "clamp_min": pointwise.rectifier,
    "prelu": pointwise.prelu,
    **dict.fromkeys(("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"), views.same),
    **dict.fromkeys(("permute", "transpose"), views.permute),
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "_unsafe_view"), views.view),
    **dict.fromkeys(("expand", "expand_as"), views.expand),
    "slice": views.take_slice,
    "select": views.select,
    **dict.fromkeys(("split", "split_with_sizes", "chunk"), views.split),
    "getitem": views.take_item,
    **dict.fromkeys(("pad", "constant_pad_nd"), views.pad),
    **dict.fromkeys(("reflection_pad2d", "replication_pad2d"), views.mirror_pad),
    "channel_shuffle": views.channel_shuffle,
    **dict.fromkeys(("add", "sub", "rsub"), joining.add),
    "mul": joining.multiply,
    "addcmul": joining.scale_and_add,
    "div": joining.divide,
    "neg": joining.negate,
    "cat": joining.concatenate,
    "stack": joining.stack,
    "sum": joining.total,
}
