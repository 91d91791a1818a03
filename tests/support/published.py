"""Published runs made on the spot, without a network. Takes a root, writes the tables and the manifest of a run."""

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from workers.core.receptive_field import Box, Field, Span
from workers.store import documents, paths
from workers.store.root import Root
from workers.store.rows import TableWriter
from workers.store.tables.registry import TABLES
from workers.store.tables.shared import RUNS

INPUT_PX = 64
IMAGES = 12
K = 9
# One small field, one that leaves the input at its borders, one that is larger than the input, one of the whole input.
FIELDS = {
    "relu1": Field(Span(2, -2, 7), Span(2, -2, 7)),
    "relu2": Field(Span(8, -12, 35), Span(8, -12, 35)),
    "relu3": Field(Span(16, -40, 99), Span(16, -40, 99)),
    "fc": Field(Span(0, 0, INPUT_PX), Span(0, 0, INPUT_PX)),
}
MAPS = {"relu1": 32, "relu2": 8, "relu3": 4, "fc": 1}
# One layer above a gate, one without projections, one without peculiarities, and one of an earlier version.
MARKS: dict[str, dict[str, Any]] = {
    "relu1": {"gated": False, "obstacle": ""},
    "relu2": {"gated": True, "obstacle": ""},
    "relu3": {"gated": True, "obstacle": "sort: aten.sort has no downward step"},
}
CHANNELS = {"relu1": 20, "relu2": 6, "relu3": 6, "fc": 3}
DEAD = 2  # channel of every layer that no image activates


SMALL_PART_BYTES = 100_000  # so that even small tables have several files
CORPUS = "/photos"
MODEL = {"source": "deconvoy://none", "fingerprint": "none"}


def names(count: int = IMAGES + 1) -> list[tuple[str, str]]:
    """Image ids and labels."""
    return [(f"cat{n % 2}/{n:03d}.png", "cat") for n in range(count)]


def publish(
    root: Root,
    run: str = "first",
    created: str = "2026-11-23T02:00:00+00:00",
    k: int = K,
    named: Sequence[tuple[str, str]] | None = None,
    channels: Mapping[str, int] = CHANNELS,
    **facts: Any,
) -> None:
    """Publish a scan whose patches are red at the top, green below, and a lighter shade for a better rank.

    `named` are ids and labels of its images, the last of them rejected for a `reason`. `prefix` begins the names of layers.
    `predicted` are the numbers and names of the classes of its images.
    """
    reason, prefix, predicted = facts.pop("reason", "damaged"), facts.pop("prefix", ""), facts.pop("predicted", ())
    tables = _rows(k, named or names(), channels)
    keys = [{name: row[name] for name in ("image_index", "image_id", "uri")} for row in tables["images"]]
    tables["predictions"] = [
        {**key, "class_index": index, "class_name": name, "probability": 0.75}
        for key, (index, name) in zip(keys, predicted, strict=False)
    ]
    tables["rejects"][0]["reason"] = reason
    layers = layers_of(channels)
    for row in [row for name in ("top", "units", "patches") for row in tables[name]]:
        row["layer"] = prefix + row["layer"]
    for layer in layers:
        layer["name"] = prefix + layer["name"]
    sections = {"scan": {"k": k, "max_reject_share": 0.05}, "project": {"method": "deconvnet"}}
    spec = sections | facts.pop("spec", {})
    rejects = {"rejects": 1, "rejects_by_reason": {reason: 1}}
    commit(root, run, "scan", tables, created=created, spec=spec, layers=layers, totals=rejects, **facts)


def commit(
    root: Root, run: str, job: str, tables: Mapping[str, list[dict[str, Any]] | Iterable[pa.Table]], **facts: Any
) -> None:
    """Write tables, given as rows or in blocks, and their manifest."""
    written: dict[str, list[dict[str, Any]]] = {}
    part_bytes = facts.pop("part_bytes", SMALL_PART_BYTES)
    with root.scratch() as scratch:
        for name, rows in tables.items():
            with TableWriter(root, TABLES[name], run, scratch, part_bytes=part_bytes) as writer:
                for block in [pa.Table.from_pylist(rows, TABLES[name].schema)] if isinstance(rows, list) else rows:
                    writer.write(block)
                written[name] = [vars(part) for part in writer.close()]
    images, layers = len(list(tables.get("images", []))), facts.get("layers", [])
    channels = sum(layer["channels"] for layer in layers)
    totals = {"images": images, "rejects": 0, "rejects_by_reason": {}, "layers": len(layers), "channels": channels}
    totals |= facts.pop("totals", {})
    manifest = {
        "version": 1, "run": run, "job": job, "tables": written, "created": "2026-11-25T02:00:00+00:00", "spec": {},
        "model": MODEL, "corpus": {"source": CORPUS}, "input": [3, INPUT_PX, INPUT_PX],
        "versions": {}, "seconds": 1.0, "images_per_s": None,
        **facts, "totals": {"listed": totals["images"] + totals["rejects"]} | totals,
    }  # fmt: skip
    assert root.create(paths.manifest_path(run), json.dumps(manifest).encode())


def commit_runs_row(root: Root, run: str) -> None:
    """Write a published run's row of `runs`, as the last step of publishing does."""
    document = documents.read_manifest(root, run)
    assert document is not None
    with root.scratch() as scratch, TableWriter(root, RUNS, run, scratch) as writer:
        writer.write(documents.runs_row(document))
        writer.close()


def box(layer: str, rank: int) -> Box:
    """The field of the unit that a row of `top` is about: ranks walk over the map, borders and corners included."""
    side = MAPS[layer]
    places = [(0, 0), (0, side - 1), (side - 1, 0), (side - 1, side - 1), (side // 2, side // 2)]
    return FIELDS[layer].box(*places[rank % len(places)])


def patch(layer: str, rank: int) -> np.ndarray[Any, Any]:
    """uint8 (height, width, 3): the box cut to the input, of a picture that is red above its middle and green below."""
    cut = box(layer, rank).cut(INPUT_PX, INPUT_PX)
    pixels = np.zeros((INPUT_PX, INPUT_PX, 3), np.uint8)
    pixels[: INPUT_PX // 2, :, 0] = pixels[INPUT_PX // 2 :, :, 1] = 255 - 20 * min(rank, 9)
    return pixels[cut.top : cut.bottom, cut.left : cut.right]


def image_rows(named: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """The key columns and labels of images."""
    return [
        {"image_index": n, "image_id": name, "uri": f"{CORPUS}/{name}", "label": label}
        for n, (name, label) in enumerate(named)
    ]


def content(image_id: str) -> str:
    """The hash of an image's file: the same id is the same file."""
    return hashlib.sha256(image_id.encode()).hexdigest()


def _rows(k: int, named: Sequence[tuple[str, str]], channels: Mapping[str, int]) -> dict[str, list[dict[str, Any]]]:
    sized = {"width": INPUT_PX, "height": INPUT_PX}
    images = image_rows(named)
    top = [row for index, layer in enumerate(FIELDS) for row in _top(index, layer, images, k, channels[layer])]
    return {
        "images": [each | sized | {"sha256": content(each["image_id"])} for each in images[:IMAGES]],
        "rejects": [{**images[IMAGES], "reason": "damaged", "detail": "cut off"}],
        "units": [
            _unit(index, layer, channel) for index, layer in enumerate(FIELDS) for channel in range(channels[layer])
        ],
        "top": top,
        "patches": [_patch(row) for row in top],
        "previews": [
            {"image_index": each["image_index"], "image_id": each["image_id"], "preview": encoded(patch("fc", 0))}
            for each in images[:IMAGES]
        ],
    }


def _top(index: int, layer: str, images: list[dict[str, Any]], k: int, channels: int) -> list[dict[str, Any]]:
    rows = []
    for channel in range(channels):
        for rank in range(min(k, IMAGES)):
            at = box(layer, rank)
            score = 0.0 if channel == DEAD else 10.0 * (channel + 1) - rank
            rows.append(
                {
                    "layer": layer, "layer_index": index, "channel": channel, "rank": rank, "score": score,
                    "y": 0, "x": 0,
                    **images[(channel + rank) % IMAGES],
                    **{f"{name}_{side}": getattr(at, side) for name in ("box", "source") for side in vars(at)},
                }
            )  # fmt: skip
    return rows


def _patch(row: dict[str, Any]) -> dict[str, Any]:
    shown, projection = _pictures(row["layer"], row["rank"])
    return {
        **row,
        "patch": shown,
        "projection": projection if row["score"] > 0 else None,
        "projection_scale": 1.0,
        "method": "deconvnet",
        "exact": True,
    }


@lru_cache
def _pictures(layer: str, rank: int) -> tuple[dict[str, Any], dict[str, Any]]:
    pixels = patch(layer, rank)
    return encoded(pixels), encoded(255 - pixels)


def _unit(index: int, layer: str, channel: int) -> dict[str, Any]:
    dead = channel == DEAD
    field = FIELDS[layer]
    numbers = dict.fromkeys(("std", "q01", "q10", "q25", "q50", "q75", "q90", "q99"), 0.5)
    return {
        "layer": layer, "layer_index": index, "channel": channel, "images": IMAGES, **numbers,
        "max": 0.0 if dead else 10.0 * (channel + 1), "mean": 0.0 if dead else (channel + 1) / 2,
        "active_share": 0.0 if dead else 1 - channel / 10_000, "dead": dead,
        "bins": [0], "counts": [IMAGES], "field_height": field.height, "field_width": field.width,
        "stride_y": field.stride_y, "stride_x": field.stride_x,
        "row_stride": field.stride_y, "column_stride": field.stride_x, **MARKS.get(layer, {}),
    }  # fmt: skip


def layers_of(channels: Mapping[str, int] = CHANNELS) -> list[dict[str, Any]]:
    """The layers as a manifest tells them."""
    return [_layer(index, name, channels[name]) for index, name in enumerate(FIELDS)]


def _layer(index: int, name: str, channels: int) -> dict[str, Any]:
    field, side = FIELDS[name], MAPS[name]
    return {
        "index": index, "name": name, "channels": channels, "height": side, "width": side,
        "field_height": field.height, "field_width": field.width,
        "stride_y": field.stride_y, "stride_x": field.stride_x, **MARKS.get(name, {}),
    }  # fmt: skip


def encoded(pixels: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Pixels as a value of an image column."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}
