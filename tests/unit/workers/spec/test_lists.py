"""Lists of channels in specs: distinct, at most 65,536, and checked in linear time."""

import time

import pytest

from workers.errors import SpecError
from workers.kinds import Kind
from workers.spec.kinds import SPECS
from workers.spec.lists import MOST_CHANNELS, require_channels, require_distinct
from workers.spec.make import make

SECTIONS = {Kind.INVERT: {}, Kind.SANITY: {"from_run": "scan"}, Kind.SYNTHESISE: {}}


def spec_with(kind, channels):
    corpus = {} if kind is Kind.SYNTHESISE else {"corpus": {"source": "photos"}}
    section = {**SECTIONS[kind], "channels": channels}
    return make(SPECS[kind], {"root": "out", "model": {"source": "deconvoy://zfnet-mini"}, **corpus, kind: section})


def test_200_000_distinct_values_are_accepted_within_two_seconds():
    started = time.monotonic()
    require_distinct("invert.channels", tuple(range(200_000)))
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("kind", SECTIONS)
def test_the_longest_list_of_channels_is_accepted_within_two_seconds(kind):
    channels = tuple(range(MOST_CHANNELS))
    started = time.monotonic()
    spec = spec_with(kind, channels)
    assert time.monotonic() - started < 2
    assert getattr(spec, kind).channels == channels


@pytest.mark.parametrize("kind", SECTIONS)
def test_a_longer_list_of_channels_is_refused_within_two_seconds(kind):
    started = time.monotonic()
    with pytest.raises(SpecError, match=rf"{kind}\.channels: .* at most {MOST_CHANNELS} items"):
        spec_with(kind, tuple(range(200_000)))
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("kind", SECTIONS)
def test_the_first_channel_that_repeats_is_named(kind):
    with pytest.raises(SpecError, match=rf"{kind}\.channels: 5 is named twice$"):
        spec_with(kind, (0, 5, 7, 7, 5))


def test_a_mode_that_repeats_is_named():
    section = {"from_run": "scan", "modes": ("independent", "cascading", "independent")}
    values = {"root": "out", "model": {"source": "deconvoy://zfnet-mini"}, "corpus": {"source": "photos"}}
    with pytest.raises(SpecError, match=r"sanity\.modes: independent is named twice$"):
        make(SPECS[Kind.SANITY], {**values, "sanity": section})


def test_the_first_channel_that_a_layer_lacks_is_named():
    require_channels("invert.channels", (0, 95), "relu1", 96)
    with pytest.raises(SpecError, match=r"invert\.channels: no channel 96 in relu1; it has 0 to 95$"):
        require_channels("invert.channels", (3, 96, 97), "relu1", 96)
