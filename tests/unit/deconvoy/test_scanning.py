"""The preprocessing of a module that is scanned from Python."""

import pytest
from torch import nn

import deconvoy
from workers.errors import ModelError

LENET = {"mean": [0.13], "std": [0.31]}


class Reached(Exception):
    """The preprocessing was accepted."""


@pytest.fixture(autouse=True)
def stops_before_the_export(monkeypatch):
    def export(*_: object) -> None:
        raise Reached

    monkeypatch.setattr("workers.models.model.export", export)


def scan(tmp_path, preprocessing) -> None:
    deconvoy.scan(nn.Conv2d(1, 2, 3), corpus=tmp_path, root=tmp_path / "root", preprocessing=preprocessing)


@pytest.mark.parametrize(
    ("preprocessing", "line"),
    [
        ({"crop": 28, **LENET}, "^preprocessing has crop 28 but no resize; give both, or neither for ImageNet's$"),
        ({"resize": 28, **LENET}, "^preprocessing has resize 28 but no crop"),
        ({"mean": [0.5, 0.5, 0.5]}, "but no std"),
        ({"std": [0.5, 0.5, 0.5]}, "but no mean"),
    ],
)
def test_half_of_a_preprocessing_is_one_line(tmp_path, preprocessing, line):
    with pytest.raises(ModelError, match=line):
        scan(tmp_path, preprocessing)


@pytest.mark.parametrize(
    "preprocessing",
    [
        None,
        LENET,
        {"resize": 28, "crop": 28, **LENET},
        {"resize": [24, 40], "fit": "letterbox", "pad": 9},
        {"crop": 28, "fit": "letterbox"},
        {"pad": 114},
    ],
)
def test_a_whole_preprocessing_is_accepted(tmp_path, preprocessing):
    with pytest.raises(Reached):
        scan(tmp_path, preprocessing)
