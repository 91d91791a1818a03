"""Small corpora made on the spot. Takes a folder, writes photos of stripes and noise, and what is no photo."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from workers.corpus import manifest
from workers.errors import CorpusError
from workers.spec.parts import CorpusSpec


def photos(folder: Path, numbers: range) -> None:
    """One PNG of 80 x 90 pixels per number, in three folders; the same number gives the same bytes."""
    for number in numbers:
        random = np.random.default_rng(number)
        (folder / f"class{number % 3}").mkdir(parents=True, exist_ok=True)
        stripes = (np.arange(90)[None, :, None] * (number + 1) // 7 % 2 * 200).repeat(80, 0)
        pixels = np.clip(stripes + random.integers(0, 56, (80, 90, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"class{number % 3}" / f"{number:03d}.png")


def broken(folder: Path) -> None:
    """A file that begins as a JPEG does and is no image: `broken.jpg`."""
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no more")


def labelled(folder: Path, numbers: range) -> Path:
    """Photos, those of class0 in a folder named like a class of zfnet-mini, and a file that is no image; gives the folder."""
    photos(folder, numbers)
    (folder / "class0").rename(folder / "watch")
    broken(folder)
    return folder


def refuse(source: object, line: str, **keys: Any) -> None:
    """Require that a corpus is refused by one line that matches a pattern."""
    spec = CorpusSpec(source=str(source), **keys)
    with pytest.raises(CorpusError, match=line) as caught, manifest.list_corpus(spec, lambda _: None):
        pass
    assert "\n" not in str(caught.value)
