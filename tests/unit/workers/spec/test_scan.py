"""The spec of a scan: what it decides about shards and engines."""

import pytest

from workers.errors import SpecError
from workers.spec.scan import make_spec


def scan(**section: object):
    return make_spec(
        {"root": "r", "model": {"source": "deconvoy://zfnet-mini"}, "corpus": {"source": "c"}, "scan": section}
    )


@pytest.mark.parametrize(
    ("section", "device", "images"),
    [
        ({}, "cpu", 512),
        ({}, "cuda", 4096),
        ({"batch": 48}, "cpu", 480),
        ({"batch": 1000}, "cpu", 1000),
        ({"shard": 64}, "cuda", 64),
    ],
)
def test_auto_shards_are_whole_batches_of_about_the_devices_size(section, device, images):
    assert scan(**section).resolved(device).shard_size == images


def test_a_scan_with_auto_shards_has_the_identity_of_one_that_names_their_size():
    assert scan().resolved("cpu").identity() == scan(shard=512).resolved("cpu").identity()


@pytest.mark.parametrize("shard", [0, "many", 500])
def test_other_sizes_are_refused(shard):
    with pytest.raises(SpecError, match="shard"):
        scan(shard=shard, batch=16)
