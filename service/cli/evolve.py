"""The command `evolve`. Takes flags, runs the job, prints its outcome."""

from typing import Annotated

import typer

from service.cli import drawing
from service.cli.options import Common, Label, Layers, Method, Output, with_flags_but_code
from service.cli.running import absolute, absolute_model, run_spec
from workers.errors import UsageError
from workers.spec import families

_EXAMPLES = "deconvoy://zfnet-mini or torchvision://resnet18"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(evolve)


@with_flags_but_code
def evolve(  # noqa: PLR0913 - one parameter per flag; the spec fills in the flags that are not given
    common: Common,
    *,
    checkpoints: Annotated[list[str] | None, typer.Option()] = None,
    model: Annotated[str | None, typer.Option(help=f"Network without weights: {families.forms()}.")] = None,
    layers: Layers = None,
    k: Annotated[int | None, typer.Option()] = None,
    settled_share: Annotated[float | None, typer.Option()] = None,
    method: Method = None,
    label: Label = None,
    output: Output = None,
) -> None:
    """Show how features form during training: scan every checkpoint (Zeiler & Fergus, Figure 4)."""
    drawing.check_output(output)
    from workers.spec.evolve import EvolutionRun

    if common.spec is None or model is not None:
        _require_name(model)
    files = [absolute(pattern) for pattern in checkpoints or ()]
    flags = {
        "model": {"source": absolute_model(model)},
        "corpus": {"label": label},
        "evolve": {"checkpoints": files or None, "settled_share": settled_share},
        "scan": {"layers": layers or None, "k": k},
        "project": {"method": method},
    }
    spec = common.build_spec(EvolutionRun, flags)
    run_spec(spec, output, common)


def _require_name(model: str | None) -> None:
    """Raise an error if the network is missing, or if it is code, which is then not run."""
    if model is None:
        raise UsageError(f"evolve needs --model without weights, such as {_EXAMPLES}")
    if families.is_code(model):
        raise UsageError(
            f"model {model!r} is code, and evolve cannot give its network the weights of checkpoints; "
            f"name the network, such as {_EXAMPLES}"
        )
