"""A published run as a value: read from any manifest.json of its version, written as the same bytes again."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from workers.errors import DamagedRun
from workers.kinds import Kind
from workers.store import documents, manifest
from workers.store.facts import PartFile

PART: dict[str, Any] = {
    "path": "tables/units/run=flowers/part-00000-0.parquet",
    "rows": 2,
    "bytes": 100,
    "sha256": "0" * 64,
}
LAYER = {
    "index": 1, "name": "relu1", "channels": 2, "height": 9, "width": 9, "field_height": 7, "field_width": 7,
    "stride_y": 2, "stride_x": None, "gated": True, "obstacle": "",
    "least_field_height": None, "least_field_width": None,
}  # fmt: skip
PREPROCESSING = {"resize": 184, "crop": 160, "mean": [0.485, 0.456, 0.406], "std": [0.2, 0.2, 0.2]}
# What every job writes that has images.
WHOLE: dict[str, Any] = {
    "version": 1,
    "run": "flowers",
    "job": "scan",
    "created": "2026-11-26T00:00:00+00:00",
    "spec": {"root": "/r\u00e4ume", "scan": {"k": 5}, "project": {"method": "gradient"}},
    "identity": {"scan": {"k": 5}},
    "model": {
        "source": "deconvoy://zfnet-mini", "fingerprint": "f", "class_names": ["a"],
        "preprocessing": {**PREPROCESSING, "interpolation": "bicubic"},
    },
    "corpus": {"source": "/photos", "manifest": "corpora/c/manifest-0.parquet", "sha256": "1" * 64},
    "totals": {"listed": 3, "images": 2, "rejects": 1, "rejects_by_reason": {"damaged": 1}, "layers": 1, "channels": 2},
    "layers": [LAYER],
    "input": [3, 160, 160],
    "versions": {"torch": "2"},
    "backends": {"cudnn.benchmark": False},
    "seconds": 1.25,
    "images_per_s": None,
    "shards": ["shards/c/a.parquet"],
    "groups": ["shards/g/a.parquet"],
    "tables": {"units": [PART]},
    "schemas": {"units": "1"},
}  # fmt: skip
OTHERS = ("identity", "layers", "input", "backends", "shards", "groups", "schemas")
TRAINING = {
    "reduced_batch": 16,
    "checkpoints": [{"name": "e1", "source": "deconvoy://zfnet-mini?weights=e1.pt", "fingerprint": "g"}],
    "diverged": [{"name": "e2", "file": "e2.pt"}],
}
HALF = {"images": 64, "sets": 40, "differing": 10, "tolerances": {"relu1": 0.5}}


def encoded(document: object) -> bytes:
    return json.dumps(document, indent=1, sort_keys=True).encode()


@pytest.mark.parametrize(
    "document",
    [
        WHOLE,
        WHOLE | TRAINING,
        WHOLE | {"precision": HALF},
        {key: value for key, value in WHOLE.items() if key not in OTHERS},
        WHOLE | {"corpus": None, "images_per_s": 3.5, "model": {"source": "a b", "fingerprint": "f g"}},
        WHOLE | {"corpus": {"source": "/photos", "manifest": "corpora/c/manifest-0.parquet"}},
    ],
    ids=["a scan", "a training", "half precision", "an old one", "filters", "no hash of the list"],
)
def test_a_manifest_is_written_as_the_bytes_it_was_read_from(document):
    data = encoded(document)
    assert manifest.encode(manifest.decode(data, "flowers")) == data


def test_what_a_manifest_says_is_typed_and_cannot_change():
    run = manifest.decode(encoded(WHOLE), "flowers")
    assert run.job is Kind.SCAN and run.parts == (PartFile(**PART),) and run.layers[0].stride_x is None
    assert (
        run.sections.scan
        and run.sections.scan.k == 5
        and run.sections.project
        and run.sections.project.method == "gradient"
    )
    assert run.results == ("shards/c/a.parquet", "shards/g/a.parquet") and run.listing == "corpora/c/manifest-0.parquet"
    with pytest.raises(ValidationError, match="frozen"):
        run.run = "trees"  # type: ignore[misc]


def test_keys_of_a_newer_deconvoy_are_ignored():
    spec = WHOLE["spec"] | {"scan": {"k": 5, "sharpness": 2}, "colours": {"red": 1}}
    newer = WHOLE | {"spec": spec, "sharpness": 2, "totals": WHOLE["totals"] | {"sharp": 1}}
    run = manifest.decode(encoded(newer), "flowers")
    assert run.spec.values == spec and run.sections.scan and run.sections.scan.k == 5


def test_a_manifest_of_a_later_version_is_one_line_that_says_so():
    with pytest.raises(DamagedRun) as raised:
        manifest.decode(encoded({"version": 2, "run": "flowers", "everything": "else"}), "flowers")
    assert (
        str(raised.value) == "run 'flowers': its manifest.json has version 2; this Deconvoy reads version 1; "
        "use the version of Deconvoy that published the run"
    )


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"run": "trees"}, "it belongs to run 'trees'"),
        ({"tables": {}}, "tables: Dictionary should have at least 1 item after validation, not 0"),
        ({"job": "dream"}, "job: Input should be 'scan', 'occlude'"),
        ({"created": "today"}, "created: Invalid isoformat string: 'today'"),
        ({"layers": [{"index": 1}]}, r"layers\.0\.name: Field required \(and 7 more\)"),
        ({"spec": {"scan": {"k": 0}}}, r"^spec\.scan\.k: Input should be greater than or equal to 1"),
        ({"tables": {"units": [PART | {"rows": "many"}]}}, r"tables\.units\.0\.rows: Input should be a valid integer"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_key(change, line):
    with pytest.raises(ValueError, match=line) as raised:
        manifest.decode(encoded(WHOLE | change), "flowers")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"1", b"{}", b'{"run": "flowers"}', b"[" * 100_000])
def test_what_is_not_a_manifest_is_one_line(data):
    with pytest.raises(ValueError, match="it cannot be read: ") as raised:
        manifest.decode(data, "flowers")
    assert "\n" not in str(raised.value)


def test_the_row_of_runs_has_the_cost_of_half_precision_and_null_in_float32():
    for more, expected in (({}, (None, None)), ({"precision": HALF}, (0.25, 64))):
        [row] = documents.runs_row(manifest.decode(encoded(WHOLE | more), "flowers")).to_pylist()
        assert (row["half_precision_share"], row["half_precision_images"]) == expected
