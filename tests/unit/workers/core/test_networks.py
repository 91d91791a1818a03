"""Networks of torchvision and timm: a sample each time, all of them in `make soak`."""

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

from tests import networks
from tests.networks import Case

TIMMS_OWN = ("test_convnext", "test_nfnet", "test_efficientnet")  # small networks for timm's tests
SAMPLE = {
    "torchvision://squeezenet1_1",
    "torchvision://mobilenet_v3_small",
    "torchvision://shufflenet_v2_x0_5",
    *(f"timm://{name}" for name in TIMMS_OWN),
}


def cases() -> Iterator[Any]:
    has_timm = importlib.util.find_spec("timm")
    timms = (*networks.timm_cases(), *map(networks.timm_case, TIMMS_OWN)) if has_timm else ()
    for case in (*networks.torchvision_cases(), *timms):
        yield pytest.param(case, id=case.source, marks=() if case.source in SAMPLE else pytest.mark.slow)


@pytest.mark.parametrize("case", list(cases()))
def test_a_network_is_right_wherever_it_has_projections(case: Case):
    result = networks.run(case)
    if isinstance(result, str):
        pytest.skip(result)  # torch.export refuses it
    assert result.agrees
    assert result.passed or case.source not in SAMPLE


def test_every_convolutional_classifier_of_torchvision_is_a_case():
    assert len(list(networks.torchvision_cases())) == 68


@pytest.mark.skipif(not importlib.util.find_spec("timm"), reason="timm is not installed")
def test_the_page_has_every_network_and_none_that_is_wrong():
    page = networks.PAGE.read_text()
    every = [case.source for case in (*networks.torchvision_cases(), *networks.timm_cases())]
    assert [source for source in every if f"| `{source}` |" not in page] == [] and "WRONG" not in page
