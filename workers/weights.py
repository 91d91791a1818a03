"""Weights from files. Takes a path or a torchvision entry, gives tensors by key; runs no code that a file holds."""

import io
import pickle
from collections.abc import Mapping
from typing import Any
from urllib.error import URLError

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from workers import files
from workers.architectures import Entry
from workers.errors import ModelError


def state_of(entry: Entry, source: str) -> Mapping[str, Tensor]:
    """The weights that an entry names: a file, or torchvision's, downloaded by torchvision.

    Raises:
        ModelError: the file is missing or unreadable, or torchvision cannot download.
    """
    if entry.file is not None:
        return read(entry.file)
    try:
        state: Mapping[str, Tensor] = entry.download()
    except (OSError, URLError, RuntimeError) as error:
        raise ModelError(
            f"the default weights of {source!r} cannot be downloaded ({error}); give a file: "
            f"{source.partition('?')[0]}?weights=FILE.safetensors"
        ) from error
    return state


def read(path: str) -> Mapping[str, Tensor]:
    """Read a safetensors file, or a file of torch.save under `weights_only`.

    Raises:
        ModelError: it is missing, or neither.
    """
    try:
        data = files.read(path)
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"weights {path!r} cannot be read: {error}") from error
    try:
        return safetensors.torch.load(data) if path.endswith(".safetensors") else _unpickled(data)
    except (safetensors.SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"weights {path!r} are neither safetensors nor a weights-only torch file: {first}") from error


def _unpickled(data: bytes) -> Mapping[str, Tensor]:
    loaded: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ValueError("it holds no mapping from names to tensors")
    return {key.removeprefix("module."): value for key, value in loaded.items()}
