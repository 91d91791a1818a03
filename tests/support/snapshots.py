"""Small snapshots of the Hugging Face Hub. Takes a folder, writes a network of timm or transformers to it, gives its module."""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

STEPS: Mapping[str, Any] = {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1]}
SMALL: Mapping[str, Mapping[str, Any]] = {  # settings of each type of network that make it small
    "bit": {"embedding_size": 8, "num_groups": 4, **STEPS},
    "convnext": STEPS,
    "convnextv2": STEPS,
    "focalnet": {"embed_dim": 8, "depths": [1, 1, 1, 1]},
    "hgnet_v2": {},
    "mobilenet_v1": {"depth_multiplier": 0.25},
    "mobilenet_v2": {"depth_multiplier": 0.25},
    "regnet": {"embedding_size": 8, "groups_width": 4, **STEPS},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
}
SIDE = 64
SHRUNK = {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": SIDE}, "crop_pct": 0.875}
SCALE = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
PREPARED = {**SHRUNK, **SCALE, "resample": 3, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}


def transformers_module(kind: str, classes: int = 5) -> nn.Module:
    """A small classifier of transformers with random weights."""
    library = importlib.import_module("transformers")
    labels = {number: f"class {number}" for number in range(classes)}
    settings = library.CONFIG_MAPPING[kind](**SMALL[kind], num_labels=classes, id2label=labels)
    torch.manual_seed(0)
    module: nn.Module = library.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(settings)](settings)
    return randomised(module)


def randomised(module: nn.Module) -> nn.Module:
    """The module with all weights random: many a fresh layer, such as a layer scale of 1e-6, does nearly nothing."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() < 2:
                parameter.copy_(0.5 + torch.rand(parameter.shape, generator=generator))
    return module.eval().requires_grad_(False)


def write_transformers(folder: Path, kind: str = "convnext", prepared: Mapping[str, Any] = PREPARED) -> nn.Module:
    """Write the snapshot of a classifier of transformers."""
    module = transformers_module(kind)
    module.save_pretrained(folder)  # type: ignore[operator] # transformers' own method
    (folder / "preprocessor_config.json").write_text(json.dumps(prepared))
    return module


def write_timm(folder: Path, name: str = "test_resnet", classes: int = 7) -> nn.Module:
    """Write the snapshot of a network of timm."""
    timm = importlib.import_module("timm")
    torch.manual_seed(0)
    module: nn.Module = timm.create_model(name, num_classes=classes).eval().requires_grad_(False)
    names = [f"n{number}" for number in range(classes)]
    described = {"label_names": names, "label_descriptions": {"n0": "tench, Tinca tinca"}}
    timm.models.save_for_hf(module, folder, model_config=described, safe_serialization=True)
    return module
