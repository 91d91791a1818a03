"""Networks of the user's own code. Takes `FILE.py:CALLABLE`, `package.module:CALLABLE` or `FILE.pt2`, runs it, gives a network.

Only a command that was given --trust-code calls this. Everyone else reads the graph that `export` stores under a root.
"""

import importlib.util
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.export.graph_signature import InputKind

from workers.core.preprocess import Preprocessing
from workers.errors import ModelError, nearest
from workers.host.retrying import reason
from workers.models import model as models
from workers.models.model import Model
from workers.spec import families
from workers.spec.parts import ModelSpec


def export(spec: ModelSpec, source: str) -> Model:
    """Run the code that a source names, and export the network that it gives.

    Args:
        spec: the preprocessing and the class names; its source is not used.
        source: the code.

    Raises:
        ModelError: the code is missing, fails, or does not give a network; or the preprocessing is not complete.
    """
    models.refuse_arguments(spec, source)
    preprocessing = models.whole_preprocessing(spec, source)
    place, name = families.code_parts(source)
    with _running(source):
        if not name:
            return models.of_module(_read_program(place, preprocessing), Path(place).name, preprocessing)
        module = _call(source, _import(place), name)
    label = f"{Path(place).name}:{name}" if place.endswith(".py") else source
    return models.export(module, label, preprocessing)


def _import(place: str) -> ModuleType:
    if not place.endswith(".py"):
        _extend_path(Path.cwd())
        return importlib.import_module(place)
    path = Path(place).absolute()
    if not path.is_file():
        raise ModelError(f"the code file {place!r} does not exist")
    _extend_path(path.parent)
    # A name of its own, so that a file may have the name of a package.
    spec = importlib.util.spec_from_file_location(f"deconvoy_code_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{place!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _extend_path(folder: Path) -> None:
    """Let code import what lies beside it. Installed packages come first, so that nothing is hidden."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _call(source: str, module: ModuleType, name: str) -> nn.Module:
    """The module that a callable gives."""
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            known = [key for key, member in vars(value).items() if callable(member) and not key.startswith("_")]
            raise ModelError(f"model {source!r}: there is no {part!r}; {nearest(part, known)}")
        value = getattr(value, part)
    if isinstance(value, nn.Module):
        raise ModelError(f"model {source!r} is a torch.nn.Module; name a function without arguments that returns it")
    if not callable(value):
        raise ModelError(f"model {source!r} is of type {type(value).__name__}, which cannot be called")
    result = value()
    if not isinstance(result, nn.Module):
        raise ModelError(f"model {source!r} returns {type(result).__name__}; it must return a torch.nn.Module")
    return result


def _read_program(place: str, preprocessing: Preprocessing) -> nn.Module:
    """The module of a file of torch.export.save."""
    if not Path(place).is_file():
        raise ModelError(f"the exported file {place!r} does not exist")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's notes on its own internals
        program = torch.export.load(place)
    sizes = [
        tuple(node.meta["val"].shape)
        for node, spec in zip(program.graph.nodes, program.graph_signature.input_specs, strict=False)
        if spec.kind is InputKind.USER_INPUT and isinstance(node.meta.get("val"), torch.Tensor)
    ]
    if len(sizes) != 1 or len(sizes[0]) != 4:
        raise ModelError(
            f"{place!r} takes inputs of the sizes {sizes}; only one input, (images, channels, height, width), is supported"
        )
    _require_size(place, sizes[0], preprocessing)
    wrong = [
        name
        for name, weight in program.state_dict.items()
        if weight.is_floating_point() and weight.dtype != torch.float32
    ]
    if wrong:
        kind = str(program.state_dict[wrong[0]].dtype).removeprefix("torch.")
        raise ModelError(f"{place!r} was exported in {kind} ({wrong[0]}); export module.float()")
    module: nn.Module = program.module()
    return module.requires_grad_(False)


def _require_size(place: str, size: tuple[Any, ...], preprocessing: Preprocessing) -> None:
    """Check the input of an exported program, whose dynamic sizes are not integers."""
    images, channels, *sides = size
    if isinstance(images, int):
        raise ModelError(
            f"{place!r} was exported for exactly {images} images: export it with "
            "dynamic_shapes=({0: torch.export.Dim('images')},)"
        )
    if isinstance(channels, int) and channels != preprocessing.channels:
        raise ModelError(
            f"{place!r} takes images of {channels} channels, but model.mean has {preprocessing.channels} values"
        )
    if any(isinstance(known, int) and known != side for known, side in zip(sides, preprocessing.size, strict=True)):
        given, shape = (" x ".join(map(str, values)) for values in (preprocessing.size, sides))
        raise ModelError(f"model.crop {given} does not match the input of {place!r}, which is {shape}")


@contextmanager
def _running(source: str) -> Iterator[None]:
    """Report an error of the user's code in one line; what the code prints does not mix with a command's output."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except ModelError:
        raise
    except (Exception, SystemExit) as error:  # the user's code can raise anything
        raise ModelError(
            f"the code of model {source!r} fails: {type(error).__name__}: {reason(error)}{_where(error)}"
        ) from error


def _where(error: BaseException) -> str:
    """The line of the user's code at which an error was raised; empty if it was raised before any ran."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    own = [frame for frame in frames if frame.filename != __file__]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
