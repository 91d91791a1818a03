"""What a randomisation check takes from its scan."""

from dataclasses import replace

import pytest

from service.cli import sanity
from service.query import catalog
from tests.support.published import publish
from workers.spec.plain import PlainSpec
from workers.store.root import Root

PARTS = ("model", "corpus", "limits")
SPEC = {"scan": {"k": 9}, "model": {"source": "m"}, "corpus": {"source": "c"}, "limits": {"bytes": 5}}


@pytest.mark.parametrize(
    ("decode", "depth", "wanted"),
    [
        ({}, None, {}),
        ({}, "12", {"decode": {"depth": "12"}}),
        ({"bands": [3, 2, 1]}, "8", {"decode": {"bands": [3, 2, 1], "depth": "8"}}),
        ({"depth": "range:0-9"}, None, {"decode": {"depth": "range:0-9"}}),
    ],
)
def test_images_are_decoded_as_the_scan_did_with_the_depth_that_it_chose(tmp_path, monkeypatch, decode, depth, wanted):
    root = Root(str(tmp_path))
    publish(root)
    scan = catalog.find(root, "first")
    spec = SPEC | ({"decode": decode} if decode else {})
    changed = replace(scan, spec=PlainSpec(spec), depth=depth)
    monkeypatch.setattr(catalog, "find", lambda *_: changed)
    assert sanity._spec_of_scan(str(tmp_path), "first") == {**{key: SPEC[key] for key in PARTS}, **wanted}
