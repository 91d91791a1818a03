"""The commands about a training: `evolve`, and a small one to try it on. Takes words, gives published runs and files."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli import drawing
from service.cli.instruments import carry_out
from service.cli.options import Classes, Common, Json, Label, Layers, Method, Output, over_a_corpus
from service.cli.running import absolute, absolute_corpus, absolute_model
from service.cli.terminal import echo
from workers.errors import UsageError
from workers.spec import families


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(evolve)
    app.command(name="train-demo")(train_demo)


@over_a_corpus
def evolve(  # noqa: PLR0913 - one parameter per flag; one that is not given leaves it to the spec
    common: Common,
    *,
    checkpoints: Annotated[
        list[str] | None, typer.Option(help="File of weights or quoted glob; may be repeated, in the training's order.")
    ] = None,
    model: Annotated[str | None, typer.Option(help=f"{families.forms()}, without weights.")] = None,
    layers: Layers = None,
    k: Annotated[int | None, typer.Option(help="Images kept per channel and compared.")] = None,
    settled_share: Annotated[float | None, typer.Option(help="Of top images, to count as settled.")] = None,
    method: Method = None,
    classes: Classes = None,
    label: Label = None,
    output: Output = None,
) -> None:
    """See how features come to be: the scan over every checkpoint of a training, Figure 4 of Zeiler & Fergus."""
    drawing.check_output(output)
    from jobs.evolve.pipeline import evolve as run_evolve
    from workers.spec.instruments import EvolutionRun

    if common.spec is None and model is None:
        raise UsageError(
            "evolve wants a --model without weights, such as deconvoy://zfnet-mini or torchvision://resnet18"
        )
    files = [absolute(each) for each in checkpoints or ()]
    flags = {
        "model": {"source": absolute_model(model), "classes": absolute(classes)},
        "corpus": {"label": label},
        "evolve": {"checkpoints": files or None, "settled_share": settled_share},
        "scan": {"layers": layers or None, "k": k},
        "project": {"method": method},
    }
    asked = common.asked(EvolutionRun, flags)
    carry_out(lambda watch: run_evolve(asked, watch), output, as_json=common.as_json)


def train_demo(  # noqa: PLR0913 - one parameter per flag
    *,
    corpus: Annotated[str, typer.Option(help="Folder of images, a folder for each class.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the checkpoints; made if missing.")],
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the images.")] = 12,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all without it.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the weights, the held-out images and the order.")] = 0,
    as_json: Json = False,
) -> None:
    """Train zfnet-mini on a folder of labelled images, a checkpoint for each epoch, to try `evolve` on."""
    from jobs.train_demo import Training, train
    from service.cli.console import print_json

    asked = Training(str(absolute_corpus(corpus)), output.absolute(), epochs, device, threads, seed)
    outcome = train(asked, (lambda _: None) if as_json else echo)
    if as_json:
        print_json(outcome)
        return
    echo(f"look    deconvoy evolve --spec {output}/evolve.toml --root ROOT")
