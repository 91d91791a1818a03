"""Published runs of the instruments, made on the spot. Takes a root and images, writes tables that say what is expected."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.support.published import (
    CHANNELS,
    DEAD,
    FIELDS,
    INPUT_PX,
    box,
    commit,
    encoded,
    image_rows,
    layers_of,
    names,
    patch,
)
from workers.store import documents
from workers.store.facts import content_of
from workers.store.root import Root

ROWS, COLUMNS, SIZE, STRIDE = 5, 4, 16, 8
LAYERS = ("relu1", "relu2")
RESTARTS = 2
KERNELS = 12


def occlude(root: Root, run: str = "covered", named: Sequence[tuple[str, str]] | None = None) -> None:
    """Position p leaves p % of the activation; of the first image's class half is left where p is even."""
    images = image_rows(named or names(2))
    grey = encoded(np.full((INPUT_PX, INPUT_PX, 3), 90, np.uint8))
    panel = encoded(np.full((340, 380, 3), 200, np.uint8))
    panels = {f"panel_{name}": panel for name in ("image", "activation", "projection", "probability", "class")}
    about = {
        "layer": "relu2", "layer_index": 1, "channel": 4, "activation": 100.0, "class_index": 3, "class_name": "cat",
        "target": "label", "probability": 1.0, "predicted_index": 3, "predicted_name": "cat", "rows": ROWS,
        "cols": COLUMNS, "size": SIZE, "stride": STRIDE, "fill": "grey", "original": grey,
        "activation_map": [float(p) for p in range(ROWS * COLUMNS)],
        "probability_map": [1.0 if p % 2 else 0.5 for p in range(ROWS * COLUMNS)],
        "class_map": [3 if p % 2 else 7 for p in range(ROWS * COLUMNS)],
        "classes": [{"class_index": 3, "class_name": "cat"}, {"class_index": 7, "class_name": None}],
    }  # fmt: skip
    rows = [image | about | panels for image in images]
    commit(root, run, "occlude", {"images": images, "rejects": [], "occlusions": rows})


def invert(root: Root, run: str = "inverted", named: Sequence[tuple[str, str]] | None = None) -> None:
    """Two layers, two restarts; the last one of the second layer diverged."""
    images = image_rows(named or names(2))
    rows = [
        image
        | {
            "layer": layer, "layer_index": number, "restart": restart, "status": status, "error": 0.01 * (number + 1),
            "error_curve": None if status == "diverged" else [1.0, 0.1, 0.01 * (number + 1)],
            "inversion": encoded(np.full((INPUT_PX, INPUT_PX, 3), 40 * number + 20 * restart, np.uint8)),
            "original": encoded(np.full((INPUT_PX, INPUT_PX, 3), 200, np.uint8)),
            "settings": json.dumps({"rate": 0.004, "channels": None}),
        }
        for image in images
        for number, layer in enumerate(LAYERS)
        for restart in range(RESTARTS)
        for status in ["diverged" if (number, restart) == (1, 1) else "ok"]
    ]  # fmt: skip
    commit(root, run, "invert", {"images": images, "rejects": [], "inversions": rows})


AMOUNTS = {"rotate": (0.0, 90.0, 180.0), "scale": (1.0, 1.5), "translate_y": (-8.0, 0.0, 8.0)}


def invariance(root: Root, run: str = "moved", named: Sequence[tuple[str, str]] | None = None) -> None:
    """Distances grow by 0.25 with each step from nothing, in the second layer by half of that; the class loses 10 % a step."""
    images = image_rows(named or names(2))
    about = {"class_index": 3, "class_name": "cat", "target": "label", "border": "reflect",
             "predicted_index": 3, "predicted_name": None}  # fmt: skip
    rows = [
        image | about
        | {
            "layer": layer, "layer_index": number, "transform": transform, "amount": amount,
            "distance": 10.0 * steps, "relative_distance": 0.25 * steps / (number + 1), "probability": 1 - 0.1 * steps,
            "picture": encoded(np.full((INPUT_PX, INPUT_PX, 3), 40 * steps, np.uint8)) if number == 0 else None,
        }
        for image in images
        for number, layer in enumerate(LAYERS)
        for transform, amounts in AMOUNTS.items()
        for amount in amounts
        for steps in [abs(amounts.index(amount) - amounts.index(1.0 if transform == "scale" else 0.0))]
    ]  # fmt: skip
    commit(root, run, "invariance", {"images": images, "rejects": [], "invariance": rows})


def correspondence(root: Root, run: str = "parts", parts: Sequence[str] = ("left eye", "nose")) -> None:
    """The part's delta is 0.1, that of random places 0.2, that of places that images share unknown; one image is left out."""
    about = {"images": 3, "pairs": 3, "units": 1000, "std": 0.02, "standard_error": 0.01, "changed_share": 0.5,
             "delta_changed": 0.2, "left_out": 1, "why_left_out": "a.png: damaged", "fill": "grey", "seed": 0}  # fmt: skip
    strip = encoded(np.full((112, 344, 3), 90, np.uint8))
    rows = [
        about | {"layer": layer, "layer_index": number, "part": part, "kind": kind, "draws": 1, "delta": delta,
                 "picture": strip if number == 0 else None}
        for number, layer in enumerate(LAYERS)
        for part in sorted(parts)
        for kind, delta in (("part", 0.1), ("random", 0.2), ("together", None))
    ]  # fmt: skip
    commit(root, run, "correspondence", {"images": image_rows(names(3)), "rejects": [], "correspondence": rows})


CHECKPOINTS = ("epoch-1", "epoch-2", "epoch-10")


def evolve(root: Root, run: str = "trained", named: Sequence[tuple[str, str]] | None = None) -> None:
    """Three checkpoints; a channel shares 0.2, then 0.6, then all of its top images with the last; nothing wakes DEAD."""
    images = image_rows(named or names(3))
    rows = [
        _frame(index, layer, channel, checkpoint) | images[checkpoint % len(images)]
        for index, layer in enumerate(FIELDS)
        for channel in range(CHANNELS[layer])
        for checkpoint in range(len(CHECKPOINTS))
    ]
    files = [f"/weights/{name}.pt" for name in CHECKPOINTS]
    spec = {
        "scan": {"k": 9},
        "project": {"method": "deconvnet"},
        "evolve": {"checkpoints": files, "settled_share": 0.5},
    }
    tables = {"images": images, "rejects": [], "evolution": rows}
    commit(root, run, "evolve", tables, spec=spec, layers=layers_of())


def _frame(index: int, layer: str, channel: int, checkpoint: int) -> dict[str, Any]:
    at, dead = box(layer, checkpoint), channel == DEAD
    shown = encoded(patch(layer, checkpoint))
    return {
        "layer": layer, "layer_index": index, "channel": channel, "checkpoint": checkpoint,
        "checkpoint_name": CHECKPOINTS[checkpoint], "same_as": 0 if (index, checkpoint) == (0, 1) else None,
        "mean": 0.5, "active_share": 0.5, "score": 0.0 if dead else 1.0 + checkpoint,
        "overlap": None if dead else (0.2, 0.6, 1.0)[checkpoint], "settled_since": None if dead else 1, "y": 0, "x": 0,
        **{f"{name}_{side}": getattr(at, side) for name in ("box", "source") for side in vars(at)},
        "patch": shown, "projection": None if dead else shown, "projection_scale": 1.0, "method": "deconvnet", "exact": True,
    }  # fmt: skip


def filters(root: Root, run: str = "kernels") -> None:
    """A dozen kernels; the second is dead, the third a copy of the first."""
    rows = [
        {
            "model": "deconvoy://none", "model_index": 0, "layer": "conv1", "channel": n, "height": 7, "width": 7,
            "kernel": encoded(np.full((7, 7, 3), 20 * n, np.uint8)), "stride_y": 2, "stride_x": 2, "norm": 1.0,
            "peak_frequency": None if n == 1 else 0.1, "orientation_deg": None, "dead": n == 1,
            "high_frequency_share": None if n == 1 else 0.2, "aliasing_share": None if n == 1 else 0.1,
            "duplicate_of": 0 if n == 2 else None, "layer_aliasing_share": 0.1,
        }
        for n in range(KERNELS)
    ]  # fmt: skip
    commit(root, run, "filters", {"filters": rows}, corpus=None)


def synthesise(root: Root, run: str = "dreamt") -> None:
    """Two layers, of which the second has an inactive channel; channel n reaches 10 (n + 1)."""
    rows = [
        {
            "layer": layer, "layer_index": number, "channel": channel, "score": 0.0 if dead else 10.0 * (channel + 1),
            "status": "inactive" if dead else "ok", "mean": -0.5 if dead else 4.0 * (channel + 1),
            "curve": [0.0, 0.5, 1.5, 1.0], "settings": json.dumps({"steps": 4, "rate": 0.05, "seed": 0, "size": 2}),
            "synthesis": None if dead else encoded(np.full((INPUT_PX, INPUT_PX, 3), 40 * channel % 256, np.uint8)),
        }
        for number, layer in enumerate(LAYERS)
        for channel in range(CHANNELS[layer])
        for dead in [number == 1 and channel == DEAD]
    ]  # fmt: skip
    commit(root, run, "synthesise", {"syntheses": rows}, corpus=None)


def concepts(root: Root, run: str = "meant", scan: str = "first") -> None:
    """The channels of two layers of a scan, on a circle: those of neighbouring numbers are similar; the dead one has none."""
    rows = []
    for number, layer in enumerate(LAYERS):
        for channel in range(CHANNELS[layer]):
            angle, dead = 0.3 * channel + 0.1 * number, channel == DEAD
            place = {"map_x": 0.5 + 0.5 * np.cos(angle), "map_y": 0.5 + 0.5 * np.sin(angle)}
            known = {"embedding": [np.cos(angle), np.sin(angle)], "agreement": 1 / (channel + 1), **place}
            own = dict.fromkeys(known) if dead else known
            rows.append({"layer": layer, "layer_index": number, "channel": channel, "patches": 0 if dead else 9, **own})
    encoder = {"source": "hf-hub:org/tiny-clip@main", "fingerprint": "none", "files": ["config.json"]}
    spec = {"concepts": {"from_run": scan, "encoder": encoder["source"]}}
    layers = [layer for layer in layers_of() if layer["name"] in LAYERS]
    embedded = documents.read_manifest(root, scan)
    patches = content_of(embedded.tables["patches"]) if embedded else ""
    about = {"encoder": encoder, "patches": patches, "spec": spec, "layers": layers}
    commit(root, run, "concepts", {"concepts": rows}, corpus=None, **about)


def sanity(
    root: Root,
    run: str = "randomised",
    named: Sequence[tuple[str, str]] | None = None,
    *,
    dark: bool = False,
    floor: float = 0.25,
) -> None:
    """One unit of relu2 in each image, two stages, two seeds: seed d leaves 1 - s/4 - d/10 at stage s; one is blank.

    Where it is `dark` the trained gradient of the first image is blank, so that nothing can be compared with it, and the
    deconvnet's first random projection of the second image has one value everywhere, so that it has no ranks. `floor` is the
    similarity to other channels.
    """
    images = image_rows(named or names(2))
    grey = encoded(np.full((20, 20, 3), 128, np.uint8))
    nothing = dict.fromkeys(("seed", "stage_node", "other", "patch", "projection", "projection_scale"))
    rows = []
    for image in images:
        for method in ("deconvnet", "gradient", "guided_backprop"):
            about = {"layer": "relu2", "layer_index": 1, "channel": 4, "rank": image["image_index"], "score": 9.0}
            about |= {"y": 1, "x": 2, "method": method, "status": "ok", "stage": 0} | nothing
            rows += [image | about | each for each in _compared(method, image["image_index"], grey, floor)]
    if dark:
        _darken(rows)
    layer = {
        "index": 1, "name": "relu2", "channels": 6, "height": 8, "width": 8, "field_height": 35, "field_width": 35,
        "stride_y": 8, "stride_x": 8,
    }  # fmt: skip
    spec = {"sanity": {"from_run": "first"}}
    commit(root, run, "sanity", {"images": images, "rejects": [], "sanity": rows}, spec=spec, layers=[layer])


def _darken(rows: list[dict[str, Any]]) -> None:
    alike = ("rank_correlation", "rank_correlation_abs", "ssim")
    for row in rows:
        if row["method"] == "gradient" and row["image_index"] == 0:
            row |= dict.fromkeys(alike)
            if row["mode"] == "trained":
                row |= {"status": "blank", "projection": None, "projection_scale": 0.0}
    flat = next(row for row in rows if row["method"] == "deconvnet" and row["image_index"] == 1)
    flat |= dict.fromkeys(alike[:2])


def _compared(method: str, image_index: int, picture: dict[str, Any], floor: float) -> list[dict[str, Any]]:
    def alike(value: float | None) -> dict[str, Any]:
        return dict.fromkeys(("rank_correlation", "rank_correlation_abs", "ssim"), value)

    random = [
        {
            "mode": mode,
            "seed": seed,
            "stage": stage,
            "stage_node": f"conv{3 - stage}",
            **alike(1 - stage / 4 - seed / 10),
        }
        | ({"projection": picture, "projection_scale": 1.0} if mode == "cascading" and not seed else {})
        for mode in ("cascading", "independent")
        for seed in (0, 1)
        for stage in (1, 2)
    ]
    if method == "gradient" and image_index == 0:
        random[0] |= {"status": "blank", "projection": None} | alike(None)
    other = {"mode": "other_channel", "other": 3, **alike(floor)}
    return [
        *random,
        other,
        {"mode": "trained", "patch": picture, "projection": picture, "projection_scale": 1.0} | alike(1.0),
    ]
