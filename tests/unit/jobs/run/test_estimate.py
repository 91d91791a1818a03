"""The size of a scan's tables before it runs, and the way to less."""

import re
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import pytest

from jobs.run.estimate import LARGE_BYTES, Tables
from jobs.scan import _warn
from workers.core.channel_fields import ChannelFields
from workers.core.network import Layer
from workers.core.receptive_field import Field, Span
from workers.spec.scan import make_spec

MIXED = {"small": (512, 11), "middle": (256, 91), "large": (192, 224)}  # channels, and side of the field


def layer(index: int, name: str, channels: int, side: int) -> Layer:
    span = Span(1, 0, side)
    return Layer(
        index, index, name, "rectifier", channels, 7, 7, ChannelFields.alike(Field(span, span), channels), auto=True
    )


def tables(layers: Sequence[Layer], k: int = 9, method: str = "deconvnet", images: int = 10_000) -> Tables:
    values = {"root": "r", "model": {"source": "deconvoy://zfnet"}, "corpus": {"source": "c"}}
    spec = make_spec({**values, "scan": {"k": k}, "project": {"method": method, "previews": False}})
    return Tables(tuple(layers), spec, images, (224, 224))


def mixed(factor: int = 1) -> list[Layer]:
    return [layer(n, name, channels * factor, side) for n, (name, (channels, side)) in enumerate(MIXED.items())]


def test_most_bytes_are_those_of_pictures_and_projections_take_the_larger_part():
    with_projections, alone = tables(mixed()).bytes, tables(mixed(), method="none").bytes
    pixels = 9 * sum(channels * min(side, 224) ** 2 for channels, side in MIXED.values())
    assert with_projections - alone == pytest.approx(1.2 * pixels, rel=0.01)
    assert tables(mixed(), images=4).bytes == pytest.approx(with_projections * 4 / 9, rel=0.01)


def test_measured_pictures_replace_the_estimate_of_their_layer_alone():
    measured = replace(tables(mixed()), picture_bytes={1: 5_000.0}, preview_bytes=20_000.0)
    middle, side = MIXED["middle"]
    estimated = 60 + 60 + side**2 * (0.25 + 1.2)
    assert measured.bytes - tables(mixed()).bytes == pytest.approx(9 * middle * (5_000 - estimated), abs=2)


def test_results_hold_the_pictures_again_and_the_statistics_of_every_shard_and_merge():
    planned = tables([layer(0, "only", 100, 11)], images=10_000)
    assert planned.projected_bytes == pytest.approx(9 * 100 * (120 + 11**2 * 1.45), abs=2)
    sized = replace(planned, spec=planned.spec.resolved("cpu"))  # 20 shards of 512 images, merged by 2 and 1
    whole = sized.scanned_bytes(20, 10_000)
    assert whole == pytest.approx(23 * 100 * (240 + 9 * 8) + 10_000 * (45 + 50), abs=2)
    assert sized.scanned_bytes(0, 0) == 0
    assert sized.scanned_bytes(1, 512) == pytest.approx(whole - 19 * 100 * 312 - 9_488 * 45, abs=2)


def test_each_image_of_the_top_has_one_preview():
    values = {"root": "r", "model": {"source": "deconvoy://zfnet"}, "corpus": {"source": "c"}}
    with_previews = replace(tables([layer(0, "only", 96, 11)], images=864), spec=make_spec(values), preview_bytes=1e6)
    without = tables([layer(0, "only", 96, 11)], images=864)
    expected = 864 * (1 - (1 - 1 / 864) ** 864)  # 864 rows, each with any of 864 images
    assert (with_previews.bytes - without.bytes) / 1e6 == pytest.approx(expected, abs=1)


def test_no_way_is_named_that_would_not_help():
    many = tables([layer(0, "only", 96, 11)], images=45_000_000).warning
    assert many == "the tables will take about 2.3 GB"


def test_top_rows_have_few_images_twice_in_a_large_corpus_and_all_images_of_a_small_one():
    small, large = (tables([layer(0, "only", 100, 11)], images=images) for images in (50, 1_000_000))
    assert (small.rows, small.top_images) == (900, 50)
    assert (large.rows, large.top_images) == (900, 900)


def test_small_tables_need_no_warning():
    assert tables(mixed()).bytes < LARGE_BYTES and not tables(mixed()).warning


def test_the_way_that_loses_the_fewest_patches_is_named_and_is_enough():
    warning = tables(mixed(20)).warning  # a fifth of the channels takes most bytes
    assert re.fullmatch(
        r"the tables will take about \d\.\d GB; leaving large out of --layers would reduce this to 0\.[67] GB", warning
    )
    even = [layer(n, f"layer{n}", 500, 224) for n in range(10)]
    found = re.search(r"--k (\d+) would reduce this to 1\.\d GB", tables(even, k=60).warning)
    assert found
    k = int(found[1])
    assert tables(even, k=k).bytes <= LARGE_BYTES < tables(even, k=k + 1).bytes


def test_a_layer_that_is_too_large_alone_has_the_way_that_leaves_least():
    warning = tables([layer(0, "only", 100_000, 224)]).warning
    assert "; --k 1 would reduce this to 7." in warning and "all but" not in warning


@pytest.mark.parametrize(("factor", "lines"), [(1, 0), (20, 1)])
def test_a_scan_says_so_before_it_starts(factor, lines):
    said: list[str] = []
    planned = tables(mixed(factor))
    nodes = (SimpleNamespace(shape=(3, *planned.input)),)
    model = SimpleNamespace(network=SimpleNamespace(nodes=nodes, select=lambda _: planned.layers))
    watch = SimpleNamespace(say=said.append)
    _warn(planned.spec, watch, model, SimpleNamespace(images=planned.images))  # type: ignore[arg-type]
    assert said == [planned.warning] * lines


def test_the_three_largest_of_many_layers_are_named_and_the_others_counted():
    small = [layer(n, f"small{n}", 2_000, 11) for n in range(10)]
    large = [layer(10 + n, f"large{n}", 1_400, 150 + n) for n in range(10)]
    warning = tables([*small, *large]).warning
    assert re.search(r"; leaving large9, large8, large7 and \d more out of --layers would reduce this to ", warning), (
        warning
    )
