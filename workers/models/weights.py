"""Weights from files. Takes a path or a torchvision entry, gives tensors by key; runs no code that a file holds."""

import io
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any
from urllib.error import URLError

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from workers import files
from workers.errors import DivergedError, ModelError
from workers.host.retrying import reason
from workers.models.families.family import Entry
from workers.spec import families

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
# A checkpoint in double precision with an optimizer's moments and an average of the weights is eight times its model.
MOST_TIMES = 16
SLACK_BYTES = 64 << 20
CODE = "torch.save(model.state_dict(), FILE)"


def state_of(entry: Entry, source: str, model_bytes: int) -> Mapping[str, Tensor]:
    """The weights that an entry names: a file, or torchvision's, downloaded by torchvision.

    Args:
        entry: names them.
        source: of the model, for the error.
        model_bytes: size of the model's own numbers; a file that is many times larger is not read.

    Raises:
        ModelError: the file is missing, unreadable or far too large, or torchvision cannot download.
    """
    if entry.file is not None:
        return read(entry.file, MOST_TIMES * model_bytes + SLACK_BYTES)
    try:
        state: Mapping[str, Tensor] = entry.download()
    except (OSError, URLError, RuntimeError) as error:
        raise ModelError(
            f"the default weights of {source!r} cannot be downloaded ({reason(error)}); give a file: "
            f"{families.with_weights(source, 'FILE.safetensors')}"
        ) from error
    return state


def read(path: str, most_bytes: int | None = None) -> Mapping[str, Tensor]:
    """Read a safetensors file, or a file of torch.save under `weights_only`.

    Args:
        path: or URL.
        most_bytes: a larger file is refused before it is read.

    Raises:
        ModelError: it is missing, too large, or neither.
    """
    try:
        data = files.read(path, most_bytes)
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"weights {path!r} cannot be read: {reason(error)}") from error
    try:
        return safetensors.torch.load(data) if path.endswith(".safetensors") else _unpickled(data)
    except Exception as error:  # a damaged file can make a parser raise anything
        raise ModelError(
            f"weights {path!r} are neither safetensors nor a weights-only torch file: {_explained(error)}"
        ) from error


def usable(key: str, tensor: Tensor, wanted: Tensor, source: str) -> Tensor:
    """A tensor of a file in the number format of the module's own one.

    Raises:
        ModelError: it holds integers where numbers are wanted, or is sparse or quantized.
        DivergedError: it holds NaN or infinity.
    """
    plain = tensor.layout == torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"
    if not plain or (tensor.dtype not in FLOATS and wanted.is_floating_point()) or tensor.is_complex():
        kind = str(tensor.dtype).removeprefix("torch.") if plain else f"not dense ({tensor.layout}, {tensor.device})"
        raise ModelError(
            f"the weights of {source!r} cannot be used: {key} is {kind}; float32, float16, bfloat16 or float64 is supported"
        )
    found = tensor.to(wanted.dtype)
    if found.is_floating_point() and not bool(found.isfinite().all()):
        count = int((~found.isfinite()).sum())
        raise DivergedError(
            f"the weights of {source!r} have diverged: {key} holds NaN or infinity in {count:,} of {found.numel():,} numbers; "
            "give an earlier checkpoint"
        )
    return found


def _unpickled(data: bytes) -> Mapping[str, Tensor]:
    _check_declared_sizes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sparse and quantized tensors, which are refused later
        loaded: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ValueError(f"it holds no mapping from names to tensors; write it with {CODE}")
    numbered = [key for key in loaded if not isinstance(key, str)]
    if numbered:
        raise ValueError(f"its key {numbered[0]!r} is not a parameter's name; write it with {CODE}")
    return {key.removeprefix("module."): value for key, value in loaded.items()}


def _check_declared_sizes(data: bytes) -> None:
    """Unpack nothing that is larger than the file: torch.save does not compress.

    Raises:
        ValueError: the archive's directory declares compressed entries, or more bytes than there are.
    """
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
    declared = sum(entry.file_size for entry in entries)
    if declared > len(data) or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError(
            f"it is an archive of {len(data):,} bytes that unpacks to {declared:,}; torch.save does not compress"
        )


def _explained(error: BaseException) -> str:
    """What is wrong with a file, in one line; torch's own advice is to trust it and run its code."""
    if isinstance(error, EOFError):
        return "it is empty or cut off"
    if isinstance(error, KeyError):
        return f"it holds the unsupported number format or entry {error}"
    if isinstance(error, pickle.UnpicklingError) and "Weights only load failed" in str(error):
        return f"it holds Python objects, such as a whole module, whose loading would run code; write it with {CODE}"
    return reason(error)
