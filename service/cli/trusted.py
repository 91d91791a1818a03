"""Networks of the user's own code in a command. Takes the values of a spec, runs the code that they name, gives the spec.

The spec names the network as `stored://NAME@FINGERPRINT`: neither the spec nor an actor ever sees the code.
"""

from typing import TYPE_CHECKING, Any, cast

from workers.errors import UsageError
from workers.spec import families

if TYPE_CHECKING:
    from workers.core.network import Network
    from workers.models.model import Model
    from workers.spec.make import AnySpec
    from workers.spec.parts import NetworkSpec

_DRAFT = families.stored_source("code", "0" * 32)
_kept: "list[Model]" = []  # until the command, and with it the process, ends


def build_spec(kind: "type[AnySpec]", values: dict[str, Any], *, trust: bool | None) -> "AnySpec":
    """A spec. If its values name code, the code is run, and the spec names the network that it gives.

    Args:
        kind: class of the spec.
        values: its values, as nested dicts.
        trust: whether code may be run; None if the command never runs code.

    Raises:
        UsageError: the values name code, and it may not be run.
        SpecError: a value is not valid.
        ModelError: the code fails, or does not give a network.
    """
    from workers.spec.make import make, merged

    model = values.get("model")
    source = model.get("source") if isinstance(model, dict) else None
    if not isinstance(source, str) or not families.is_code(source):
        return make(kind, values)
    _require_trust(source, trust=trust)
    draft = make(kind, merged(values, {"model": {"source": _DRAFT}}))
    from workers.models import code

    spec = cast("NetworkSpec", draft).model
    exported = code.export(spec, source)
    _kept.append(exported)
    return draft.model_copy(update={"model": spec.model_copy(update={"source": exported.stored.source})})


def outline(values: dict[str, Any], *, trust: bool) -> "Network":
    """The network that code gives, for its layers and their geometry.

    Args:
        values: the keys of the model; `crop` is the size of its input, and `mean` and `std` only give the number of its channels.
        trust: whether code may be run.

    Raises:
        UsageError: the code may not be run, or the size is missing.
        SpecError: a value is not valid.
        ModelError: the code fails, or does not give a network.
    """
    source, crop = values["source"], values.get("crop")
    _require_trust(source, trust=trust)
    if crop is None:
        raise UsageError(f"the layers of {source!r} depend on the size of its input: add --crop")
    from workers.models import code
    from workers.spec.make import make, merged
    from workers.spec.parts import ModelSpec

    unused = {"resize": crop, "mean": (0, 0, 0), "std": (1, 1, 1), "interpolation": "bilinear"}
    return code.export(make(ModelSpec, merged(unused, {**values, "source": _DRAFT})), source).network


def _require_trust(source: str, *, trust: bool | None) -> None:
    if trust is None:
        raise UsageError(f"model {source!r} is code, which this command does not run; give the name of a network")
    if not trust:
        raise UsageError(f"model {source!r} is code, which this command would run; add --trust-code if you trust it")
