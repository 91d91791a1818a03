"""The sheet of first-layer kernels: a title by which networks of one architecture can be told apart."""

import pytest

from service.sheets import filters


def row(model: str) -> dict[str, object]:
    return {
        "model": model, "layer": "conv1", "height": 7, "width": 7, "stride_y": 2, "stride_x": 2, "dead": False,
        "duplicate_of": None, "layer_aliasing_share": 0.144,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "title"),
    [
        ("deconvoy://zfnet-mini", "zfnet-mini"),
        ("deconvoy://zfnet-mini?weights=/home/a/training/epoch-000.safetensors", "zfnet-mini · epoch-000"),
    ],
)
def test_a_title_names_the_network_and_its_file_of_weights(model, title):
    assert filters._title([row(model)]).splitlines()[0] == title


def test_a_title_counts_kernels_and_gives_the_share_of_aliased_energy():
    lines = filters._title([row("deconvoy://zfnet-mini")] * 3).splitlines()
    assert lines[1:] == [
        "conv1: 3 kernels of 7 x 7, stride 2",
        "aliasing 14 % of the energy, 0 dead, 0 duplicates; each kernel is scaled separately",
    ]
