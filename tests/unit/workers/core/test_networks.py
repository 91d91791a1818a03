"""Networks of torchvision and timm: a sample each time, all of them in `make soak`."""

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

from tests import networks
from tests.networks import Case
from tests.support.checked import TOLERANCE

SAMPLE = {
    "torchvision://squeezenet1_1",
    "torchvision://mobilenet_v3_small",
    "torchvision://shufflenet_v2_x0_5",
    "timm://test_convnext",
    "timm://test_nfnet",
    "timm://test_efficientnet",
}


def cases() -> Iterator[Any]:
    timms = networks.timm_cases() if importlib.util.find_spec("timm") else ()
    for case in (*networks.torchvision_cases(), *timms):
        yield pytest.param(case, id=case.source, marks=() if case.source in SAMPLE else pytest.mark.slow)


@pytest.mark.parametrize("case", list(cases()))
def test_a_network_is_right_wherever_it_has_projections(case: Case):
    result = networks.run(case)
    if isinstance(result, str):
        pytest.skip(result)  # torch.export refuses it
    assert result.fields and result.error <= TOLERANCE and (result.equal or result.obstacle)
    assert result.passed or case.source not in SAMPLE


def test_every_convolutional_classifier_of_torchvision_is_a_case():
    assert len(list(networks.torchvision_cases())) == 68
