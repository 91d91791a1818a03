"""Questions to a published run. Takes layers, channels and image ids, gives rows; computes nothing."""

from collections.abc import Mapping
from typing import Any, Literal

from service.catalog import PublishedRun
from workers.errors import QueryError, nearest

Sort = Literal["channel", "dead", "max", "mean", "active_share"]

_SHOWN = ("layer", "channel", "images", "max", "mean", "std", "active_share", "q50", "q99", "dead")


def layer_of(run: PublishedRun, name: str) -> Mapping[str, Any]:
    """What the manifest says of a layer.

    Raises:
        QueryError: the run did not look at it.
    """
    known = {layer["name"]: layer for layer in run.layers}
    if name not in known:
        raise QueryError(f"run {run.run!r} has no layer {name!r}; {nearest(name, known)}")
    return known[name]


def top(run: PublishedRun, layer: str, channel: int) -> list[dict[str, Any]]:
    """The top rows of a channel, best first."""
    index = _channel(run, layer, channel)
    return list(run.rows("top", filters=[("layer_index", "==", index), ("channel", "==", channel)]).to_pylist())


def patches(run: PublishedRun, layer: str, first: int, last: int) -> list[dict[str, Any]]:
    """The patches of channels `first` to `last` of a layer, by channel and rank."""
    index = _channel(run, layer, first)
    _channel(run, layer, last)
    filters = [("layer_index", "==", index), ("channel", ">=", first), ("channel", "<=", last)]
    return list(run.rows("patches", filters=filters).to_pylist())


def units(run: PublishedRun, layer: str, sort: Sort = "channel", limit: int | None = None) -> list[dict[str, Any]]:
    """The statistics of a layer's channels: dead ones first, or the largest first, or by channel."""
    index = layer_of(run, layer)["index"]
    rows = run.rows("units", list(_SHOWN), filters=[("layer_index", "==", index)])
    if sort != "channel":
        rows = rows.sort_by([(sort, "descending"), ("channel", "ascending")])
    return list(rows.slice(0, limit).to_pylist())


def image(run: PublishedRun, image_id: str) -> list[dict[str, Any]]:
    """The channels that an image tops.

    Raises:
        QueryError: the run did not scan the image.
    """
    if not run.rows("images", ["image_id"], [("image_id", "==", image_id)]).num_rows:
        known = run.rows("images", ["image_id"])["image_id"].to_pylist()
        raise QueryError(f"run {run.run!r} did not scan image {image_id!r}; {nearest(image_id, known, limit=3)}")
    return list(run.rows("top", filters=[("image_id", "==", image_id)]).to_pylist())


def _channel(run: PublishedRun, layer: str, channel: int) -> int:
    known = layer_of(run, layer)
    if not 0 <= channel < known["channels"]:
        raise QueryError(f"layer {layer!r} has channels 0 to {known['channels'] - 1}, not {channel}")
    return int(known["index"])
