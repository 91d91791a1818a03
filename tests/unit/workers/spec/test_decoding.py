"""The keys of [decode]: their forms, and that their defaults leave no trace."""

import pytest

from workers.errors import SpecError
from workers.kinds import Kind
from workers.spec.decoding import DecodeSpec
from workers.spec.plain import PlainSpec
from workers.spec.scan import RunSpec, make_spec

LEAST = {"root": "r", "model": {"source": "deconvoy://zfnet-mini"}, "corpus": {"source": "c"}}


def made(**decode: object) -> RunSpec:
    return make_spec({**LEAST, "decode": decode})


@pytest.mark.parametrize(
    ("depth", "white", "span"),
    [
        ("auto", 65535, None),
        (8, 255, None),
        ("12", 4095, None),
        (16, 65535, None),
        ("range:0-3000", 65535, (0.0, 3000.0)),
        ("range:-160-240.5", 65535, (-160.0, 240.5)),
        ("range:-1000--200", 65535, (-1000.0, -200.0)),
    ],
)
def test_a_depth_says_which_values_are_black_and_white(depth, white, span):
    decode = made(depth=depth).decode
    assert (decode.white, decode.span) == (white, span)


@pytest.mark.parametrize(
    "depth", ["14", True, "", "range:5", "range:5-5", "range:9-1", "range:0-inf", "range:0-1e9", 12.0]
)
def test_another_depth_is_refused_with_the_forms_that_are_right(depth):
    with pytest.raises(
        SpecError, match=r"decode.depth: .* is not valid; give auto, 8, 12, 16, or range:LOW-HIGH such as"
    ):
        made(depth=depth)


@pytest.mark.parametrize("bands", [[0], [-1], [1.5], "4,3,2"])
def test_bands_are_numbers_from_1(bands):
    with pytest.raises(SpecError, match=r"decode.bands.* is not valid"):
        made(bands=bands)


def test_bands_have_no_colours_to_convert():
    with pytest.raises(SpecError, match=r"decode.colour is 'convert' but decode.bands selects bands"):
        made(bands=[1], colour="convert")


def test_defaults_leave_no_trace_in_identities_documents_and_configurations():
    plain, named = make_spec(LEAST), made(depth="auto", bands=[], colour="ignore", jpeg="full")
    assert plain.identity() == named.identity() and "decode" not in plain.identity()
    assert "decode" not in PlainSpec.of(plain).values and DecodeSpec().configuration() == {}


def test_keys_with_other_values_are_part_of_identities_and_documents():
    spec = made(depth=12, bands=[4, 3, 2], jpeg="reduced")
    expected = {"depth": "12", "bands": [4, 3, 2], "jpeg": "reduced"}
    assert spec.identity()["decode"] == expected == spec.decode.configuration()
    assert PlainSpec.of(spec).parse(Kind.SCAN) == spec
    assert spec.identity() != make_spec(LEAST).identity()


def test_results_of_depth_16_are_those_of_a_corpus_without_a_depth():
    assert made(depth=16).decode.configuration() == {}
    assert make_spec(LEAST).with_depth("16").decode.configuration() == {}
    assert make_spec(LEAST).with_depth("12").decode.configuration() == {"depth": "12"}
    assert make_spec(LEAST).with_depth(None) == make_spec(LEAST)
