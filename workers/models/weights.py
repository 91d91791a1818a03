"""Weights from files. Takes a path or an entry of a family, gives tensors by key; never runs code from a file."""

import argparse
import io
import pathlib
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.error import URLError

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from workers import files
from workers.errors import DivergedError, ModelError
from workers.host.retrying import reason
from workers.models.families.family import WeightsEntry
from workers.spec import families

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
# A checkpoint in double precision, with an optimizer's moments and averaged weights, is eight times as large as its model.
MOST_TIMES = 16
SLACK_BYTES = 64 << 20
DEEPEST = 3  # levels of such keys
CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "ema", "model_ema", "state_dict_ema")
_SCALAR = np.float64(0).__reduce__()[0]
# What checkpoints of real training runs hold beside their weights. None of it runs code when it is read.
HARMLESS: tuple[Any, ...] = (
    argparse.Namespace,
    pathlib.PosixPath,
    pathlib.PurePosixPath,
    np.dtype,
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    *(type(np.dtype(name)) for name in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1")),
)
CODE = "torch.save(model.state_dict(), FILE)"


@dataclass(frozen=True)
class Checkpoint:
    """What a file of weights contains.

    Attributes:
        state: tensors by key.
        notes: what part of the file was taken, for the user.
    """

    state: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()


def state_of(entry: WeightsEntry, source: str, model_bytes: int) -> Checkpoint:
    """The weights of an entry: read from its file, or downloaded.

    Args:
        entry: the entry.
        source: the model's source, for the error.
        model_bytes: size of the model's weights; a file that is many times larger is not read.

    Raises:
        ModelError: the file is missing, unreadable or far too large, or the download fails.
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
    return Checkpoint(state)


def read(path: str, most_bytes: int | None = None) -> Checkpoint:
    """Read a safetensors file, or a file of torch.save with `weights_only`.

    Args:
        path: a path or URL.
        most_bytes: a larger file is refused before it is read.

    Raises:
        ModelError: the file is missing, too large, or in neither format.
    """
    try:
        data = files.read(path, most_bytes)
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"weights {path!r} cannot be read: {reason(error)}") from error
    try:
        return Checkpoint(safetensors.torch.load(data)) if path.endswith(".safetensors") else _unpickle(data)
    except Exception as error:  # a damaged file can make a parser raise anything
        raise ModelError(
            f"weights {path!r} are neither safetensors nor a weights-only torch file: {_explain(error)}"
        ) from error


def convert(key: str, tensor: Tensor, wanted: Tensor, source: str) -> Tensor:
    """Convert a tensor from a file to the dtype of the module's tensor.

    Args:
        key: the tensor's key, for the error.
        tensor: the tensor from the file.
        wanted: the module's tensor.
        source: the model's source, for the error.

    Raises:
        ModelError: it is sparse, quantized or complex, or contains integers instead of floating-point numbers.
        DivergedError: it contains NaN or infinity.
    """
    plain = tensor.layout == torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"
    if not plain or (tensor.dtype not in FLOATS and wanted.is_floating_point()) or tensor.is_complex():
        kind = str(tensor.dtype).removeprefix("torch.") if plain else f"not dense ({tensor.layout}, {tensor.device})"
        raise ModelError(
            f"the weights of {source!r} cannot be used: {key} is {kind}; only float32, float16, "
            "bfloat16 and float64 are supported"
        )
    converted = tensor.to(wanted.dtype)
    if converted.is_floating_point() and not bool(converted.isfinite().all()):
        count = int((~converted.isfinite()).sum())
        raise DivergedError(
            f"the weights of {source!r} have diverged: {key} holds NaN or infinity in {count:,} of "
            f"{converted.numel():,} numbers; give an earlier checkpoint"
        )
    return converted


def _unpickle(data: bytes) -> Checkpoint:
    _check_declared_sizes(data)
    with warnings.catch_warnings(), torch.serialization.safe_globals(list(HARMLESS)):
        warnings.simplefilter("ignore")  # about sparse and quantized tensors, which are refused later
        loaded: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    taken: list[str] = []
    while len(taken) < DEEPEST and (key := _inner_key(loaded)):
        taken.append(key)
        loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ValueError(f"it does not contain a mapping from names to tensors; write it with {CODE}")
    bad_keys = [key for key in loaded if not isinstance(key, str)]
    if bad_keys:
        raise ValueError(f"its key {bad_keys[0]!r} is not a parameter's name; write it with {CODE}")
    notes = (f"the weights are those under {' / '.join(map(repr, taken))}",) if taken else ()
    return Checkpoint(dict(loaded), notes)


def _inner_key(loaded: Any) -> str:  # noqa: ANN401 - anything that a file may hold
    """The key under which a checkpoint holds its weights; empty if it holds them itself."""
    if not isinstance(loaded, Mapping) or all(isinstance(value, Tensor) for value in loaded.values()):
        return ""
    return next((key for key in CONTAINERS if isinstance(loaded.get(key), Mapping)), "")


def _check_declared_sizes(data: bytes) -> None:
    """Refuse archives that unpack to more than the file's size; torch.save does not compress.

    Raises:
        ValueError: the archive's directory declares compressed entries, or more bytes than the file has.
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


def _explain(error: BaseException) -> str:
    """What is wrong with a file, in one line. Torch's own message advises to trust the file and run its code."""
    if isinstance(error, EOFError):
        return "it is empty or truncated"
    if isinstance(error, KeyError):
        return f"it contains the unsupported dtype or entry {error}"
    if isinstance(error, pickle.UnpicklingError) and "Weights only load failed" in str(error):
        return (
            f"it contains Python objects, such as a whole module, and loading them would run code; write it with {CODE}"
        )
    return reason(error)
