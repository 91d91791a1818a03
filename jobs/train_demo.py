"""A short demo training. Takes a folder of labelled images, gives checkpoints of zfnet-mini, one for each epoch.

It is a readable recipe, not a general trainer: images are decoded once and held in memory. A few epochs on two CPU cores are
enough for features that are more than noise.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any, Self

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from jobs.ray import cluster
from workers.core.preprocess import both
from workers.corpus import entries, reader
from workers.corpus.manifest import Row
from workers.errors import CorpusError, UsageError
from workers.models import architectures
from workers.models.zfnet import zfnet_mini
from workers.spec.parts import CorpusSpec, LimitsSpec, ModelSpec

HELD_OUT = 5  # one in so many images is held out to measure the accuracy
PREFIX = "epoch-"  # of the checkpoints' names, before the number
MOST_IMAGES = 50_000  # about 100 kB each in memory
LEAST_CLASSES = 2
BATCH = 32
RATE, DECAY = 1e-3, 5e-2
LARGEST_RMS = 0.1
PREPROCESSING = architectures.resolve(ModelSpec(source="deconvoy://zfnet-mini"))[1].preprocessing
RESIZED, CROP = both(PREPROCESSING.resize)[0], PREPROCESSING.size[0]  # sides, pixels

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Data:
    """Images in memory.

    Attributes:
        pixels: uint8 (images, 3, resize, resize).
        labels: int64 (images,), class numbers.
        classes: names of the classes.
        held_out: bool (images,).
        rejects: images rejected, by reason.
    """

    pixels: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    held_out: Tensor
    rejects: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Descent:
    """AdamW with a learning rate that rises and falls once over the whole training (Smith & Topin 2018)."""

    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler

    @classmethod
    def of(cls, network: nn.Module, steps: int) -> Self:
        """The optimizer of a network for so many steps."""
        optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
        return cls(optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps))


@dataclass(frozen=True)
class Training:
    """The settings of a training.

    Attributes:
        corpus: folder or URL of images, with one folder per class.
        folder: where the checkpoints, `classes.txt` and `evolve.toml` are written.
        epochs: passes over the images.
        device: cpu, cuda or auto.
        threads: CPU threads; None for torch's default.
        seed: random seed for the weights, the held-out images and the order. Same seed and threads, same checkpoints.
    """

    corpus: str
    folder: Path
    epochs: int
    device: str = "auto"
    threads: int | None = None
    seed: int = 0


def train(training: Training, say: Say) -> dict[str, Any]:
    """Train zfnet-mini and write `epoch-000.safetensors`, before the first step, and one after each epoch.

    Args:
        training: the settings.
        say: receives a message for each epoch.

    Returns:
        Classes, images and rejects, and for each epoch the loss and the accuracy on held-out images.

    Raises:
        CorpusError: the corpus has too many images, or its usable images that are not held out have fewer than two classes.
        UsageError: the folder already contains a training; `evolve` would read both as one.
    """
    existing = sorted(path.name for path in training.folder.glob(f"{PREFIX}*"))
    if existing:
        raise UsageError(
            f"folder {str(training.folder)!r} already contains a training run ({existing[-1]}); choose another -o"
        )
    device = cluster.resolve_device(training.device)
    torch.set_num_threads(training.threads or torch.get_num_threads())
    generator = torch.Generator().manual_seed(training.seed)
    data = _load_data(training.corpus, generator)
    say(f"{len(data.labels):,} images of {len(data.classes)} classes, {int(data.held_out.sum()):,} of them held out")
    if data.rejects:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(data.rejects.items()))
        say(f"{sum(data.rejects.values()):,} more could not be used: {reasons}")
    training.folder.mkdir(parents=True, exist_ok=True)
    network = _network(len(data.classes), generator).to(device)
    descent = Descent.of(network, training.epochs * -(-int((~data.held_out).sum()) // BATCH))
    epochs = []
    for epoch in range(training.epochs + 1):
        batches = _batches(data, generator, device) if epoch else ()
        losses = [_step(network, descent, batch) for batch in batches]
        loss, accuracy = mean(losses) if losses else None, _accuracy(network, data, device)
        state = {key: value.half().cpu().contiguous() for key, value in network.state_dict().items()}
        save_file(state, training.folder / f"{PREFIX}{epoch:03}.safetensors")
        say(f"epoch {epoch:3}   accuracy {100 * accuracy:5.1f} %" + ("" if loss is None else f"   loss {loss:.3f}"))
        epochs.append({"epoch": epoch, "loss": loss, "accuracy": accuracy})
    _write_spec(training.folder, training.corpus, data.classes)
    return {"classes": len(data.classes), "images": len(data.labels), "rejects": data.rejects, "epochs": epochs}


def _load_data(corpus: str, generator: torch.Generator) -> Data:
    """Decode every labelled image once, cut to a square as wide as its short side."""
    listed = sorted(entries.listing(CorpusSpec(source=corpus)), key=lambda entry: entry.image_id)
    rows = [Row(n, **vars(entry), removed=False) for n, entry in enumerate(listed) if entry.label is not None]
    classes = tuple(sorted({str(row.label) for row in rows}))
    if len(classes) < LEAST_CLASSES or len(rows) > MOST_IMAGES:
        actual = f"{len(rows):,} labelled images of {len(classes)} classes"
        limits = f"at least {LEAST_CLASSES} classes and at most {MOST_IMAGES:,} images"
        raise CorpusError(f"corpus {corpus!r} has {actual}; this recipe needs {limits}")
    square = replace(PREPROCESSING, crop=RESIZED)
    prepare = partial(square.prepare, max_pixels=LimitsSpec().pixels)
    batches = list(reader.batches(rows, BATCH, prepare, reader.ReadOptions(LimitsSpec(), threads=2)))
    pictures = [picture for batch in batches for picture in batch.pictures]
    number, label_of = {name: n for n, name in enumerate(classes)}, {row.image_index: str(row.label) for row in rows}
    labels = torch.tensor([number[label_of[picture.record.image_index]] for picture in pictures], dtype=torch.int64)
    held_out = torch.randperm(len(pictures), generator=generator) % HELD_OUT == 0
    trained = len(set(labels[~held_out].tolist()))
    if trained < LEAST_CLASSES:
        usable = f"{len(pictures):,} of {len(rows):,} images can be used"
        left = f"the training images cover {trained} of {len(classes)} classes"
        raise CorpusError(f"corpus {corpus!r}: {usable}, and {left}; this recipe needs at least {LEAST_CLASSES}")
    rejects = Counter(str(reject.reason) for batch in batches for reject in batch.rejects)
    return Data(torch.stack([picture.prepared for picture in pictures]), labels, classes, held_out, rejects)


def _network(classes: int, generator: torch.Generator) -> nn.Module:
    """zfnet-mini with random weights as in He et al. 2015, and biases of 0."""
    network = zfnet_mini(classes)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, generator=generator)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type] # the class allows None, but every layer of zfnet has a bias
    return network.to(memory_format=torch.channels_last)


def _batches(data: Data, generator: torch.Generator, device: str) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of an epoch: the images that are not held out, in random order, each randomly cropped and mirrored."""
    indices = torch.nonzero(~data.held_out).flatten()
    room = RESIZED - CROP + 1
    for chosen in torch.split(indices[torch.randperm(len(indices), generator=generator)], BATCH):
        tops, lefts = (torch.randint(room, (len(chosen),), generator=generator).tolist() for _ in range(2))
        mirrored = torch.rand(len(chosen), generator=generator) < 1 / 2
        cut = [_cut(data.pixels[index], *at) for index, *at in zip(chosen.tolist(), tops, lefts, strict=True)]
        images = PREPROCESSING.normalise(torch.stack(cut).to(device))
        images[mirrored] = images[mirrored].flip(3)
        yield images, data.labels[chosen].to(device)


def _cut(pixels: Tensor, top: int, left: int) -> Tensor:
    return pixels[:, top : top + CROP, left : left + CROP]


def _step(network: nn.Module, descent: "Descent", batch: tuple[Tensor, Tensor]) -> float:
    """One step of the optimizer; then limit each filter's root mean square to 0.1, as in Zeiler & Fergus 2014, section 3.1."""
    images, labels = batch
    loss = functional.cross_entropy(network(images), labels)
    descent.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    descent.optimizer.step()
    descent.schedule.step()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                rms = module.weight.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
                module.weight.mul_((LARGEST_RMS / rms).clamp(max=1))
    return loss.item()


@torch.no_grad()
def _accuracy(network: nn.Module, data: Data, device: str) -> float:
    """Share of the held-out images whose most probable class is their label."""
    margin = (RESIZED - CROP) // 2
    correct = 0
    for chosen in torch.split(torch.nonzero(data.held_out).flatten(), BATCH):
        cut = torch.stack([_cut(data.pixels[index], margin, margin) for index in chosen.tolist()])
        predicted = network(PREPROCESSING.normalise(cut.to(device))).argmax(dim=1).cpu()
        correct += int((predicted == data.labels[chosen]).sum())
    return correct / int(data.held_out.sum())


def _write_spec(folder: Path, corpus: str, classes: tuple[str, ...]) -> None:
    """Write a spec for `deconvoy evolve`. JSON strings are valid TOML strings."""
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")
    (folder / "evolve.toml").write_text(
        "[model]\n"
        'source = "deconvoy://zfnet-mini"\n'
        'classes = "classes.txt"\n'
        f"[corpus]\nsource = {json.dumps(corpus)}\n"
        f'[evolve]\ncheckpoints = ["{PREFIX}*.safetensors"]\n',
        encoding="utf-8",
    )
