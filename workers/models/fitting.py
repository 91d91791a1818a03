"""Weights for a module. Takes tensors by the names of a checkpoint, gives them by the module's own; says what it changed."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from workers.errors import MisfitError
from workers.models import weights

PREFIXES = (
    "module.",
    "model.",
    "net.",
    "_orig_mod.",
    "backbone.",
    "timm_model.",
)  # of DDP, Lightning, torch.compile, ...
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.", "aux_classifier.")  # heads that only training uses
OLD_DENSENET = re.compile(
    r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.(?:weight|bias|running_mean|running_var|num_batches_tracked))$"
)


@dataclass(frozen=True)
class Aligned:
    """Weights by a module's names.

    Attributes:
        state: the tensors.
        notes: what was stripped, renamed or left out, for the user.
    """

    state: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()


def align(state: Mapping[str, Tensor], expected: Collection[str], unused: tuple[str, ...] = ()) -> Aligned:
    """Rename tensors as a module expects them, if their names differ in a known way.

    Args:
        state: tensors by the names in a checkpoint.
        expected: the names of the module's tensors.
        unused: prefixes of the names that are left out.
    """
    current, notes = dict(state), list[str]()
    prefix = _find_prefix(current, expected)
    if prefix:
        inside = {name.removeprefix(prefix): tensor for name, tensor in current.items() if name.startswith(prefix)}
        notes.append(f"the prefix {prefix!r} was removed from the keys")
        outside = [name for name in current if not name.startswith(prefix)]
        if outside:
            notes.append(f"{len(outside)} other keys were not used ({outside[0]}{', ...' * (len(outside) > 1)})")
        current = inside
    left_out = sorted({name.partition(".")[0] for name in current if name.startswith(unused)})
    if left_out:
        notes.append(f"the weights of {' and '.join(left_out)} were not used")
        current = {name: tensor for name, tensor in current.items() if not name.startswith(unused)}
    renamed = {_renamed(name, expected): tensor for name, tensor in current.items()}
    if renamed.keys() != current.keys():
        notes.append("keys of an old DenseNet checkpoint were renamed")
    return Aligned(renamed, tuple(notes))


def fit(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load weights into a module as float32. Unused keys are only allowed for auxiliary heads.

    Raises:
        MisfitError: a key is missing, unused, or has another shape.
        ModelError: a tensor cannot be used.
        DivergedError: a tensor contains NaN or infinity.
    """
    expected = module.state_dict()
    unused = [key for key in state if key not in expected and not key.startswith(AUXILIARY)]
    missing = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    misshapen = [key for key in expected if key in state and state[key].shape != expected[key].shape]
    shapes = [f"{key} has shape {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}" for key in misshapen]
    problems = [*_describe_keys(missing, "missing"), *_describe_keys(unused, "unused"), *shapes[:1]]
    if problems:
        raise MisfitError(f"the weights do not fit {source!r}: {'; '.join(problems)}")
    for key in list(expected):
        if key in state:
            expected[key] = weights.convert(key, state[key], expected[key], source)
    # A state dict of the module's own: some layers, as MNASNet's, demand the version that it carries.
    module.load_state_dict(expected, strict=False)


def _renamed(name: str, expected: Collection[str]) -> str:
    """The name that torchvision gives to a tensor of an old DenseNet checkpoint; other names stay."""
    new = OLD_DENSENET.sub(r"\1\2", name)
    return new if new in expected else name


def _find_prefix(state: Mapping[str, Tensor], expected: Collection[str]) -> str:
    """The prefix without which the most names are expected ones; empty if that is so already."""
    known = set(expected)
    chosen, best = "", sum(name in known for name in state)
    candidates = [""]
    for _ in range(3):
        candidates = [
            old + new for old in candidates for new in PREFIXES if any(n.startswith(old + new) for n in state)
        ]
        for prefix in candidates:
            hits = sum(name.removeprefix(prefix) in known for name in state if name.startswith(prefix))
            if hits > best:
                chosen, best = prefix, hits
    return chosen


def _describe_keys(keys: list[str], problem: str) -> list[str]:
    if len(keys) > 1:
        return [f"{len(keys)} {problem} ({keys[0]}, ...)"]
    return [f"{key} is {problem}" for key in keys]
