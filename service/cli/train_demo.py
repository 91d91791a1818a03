"""The command `train-demo`. Takes flags, trains a small network, and writes its checkpoints to a folder."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import Json
from service.cli.running import absolute_corpus
from service.cli.terminal import echo


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="train-demo")(train_demo)


def train_demo(  # noqa: PLR0913 - one parameter per flag
    *,
    corpus: Annotated[str, typer.Option(help="Folder of images with one subfolder per class.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the checkpoints; created if missing.")],
    epochs: Annotated[int, typer.Option(min=1, help="Number of epochs.")] = 12,
    device: Annotated[str, typer.Option(help="Device: cpu, cuda or auto.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; by default all.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed for weights, held-out images and image order.")] = 0,
    as_json: Json = False,
) -> None:
    """Train zfnet-mini on labelled images and write a checkpoint per epoch, as input for `evolve`."""
    from jobs.train_demo import Training, train
    from service.cli.console import print_json

    training = Training(str(absolute_corpus(corpus)), output.absolute(), epochs, device, threads, seed)
    outcome = train(training, (lambda _: None) if as_json else echo)
    if as_json:
        print_json(outcome)
        return
    echo(f"next    deconvoy evolve --spec {output}/evolve.toml --root ROOT")
