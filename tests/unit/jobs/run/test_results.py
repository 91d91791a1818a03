"""Results of shards that are damaged or of another shape: made again, whatever is wrong with them."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.run import identity
from jobs.run.results import StoredResults
from workers.actors.shard import Shard
from workers.corpus import manifest
from workers.errors import DamagedFile, DamagedRun
from workers.spec.parts import CorpusSpec, ModelSpec
from workers.spec.scan import RunSpec
from workers.store import documents, paths
from workers.store.root import Root
from workers.store.rows import encode, read_table
from workers.store.tables.scan import PROJECTED, SHARD

IMAGE = {"image_index": 0, "width": 2, "height": 2, "bytes": 7, "sha256": "a" * 64, "decoder": "none"}
ROW = {"images": [IMAGE], "rejects": [], "top": [], "statistics": []}
GOOD = encode(SHARD, pa.Table.from_pylist([ROW], SHARD))
WORK = Shard(0, 1, "corpora/c/manifest-0.parquet", "shards/c/a.parquet")


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path / "root"))


def other_schema() -> bytes:
    """A healthy Parquet file of something else."""
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table({"images": [1]}), buffer)
    return bytes(buffer.getvalue())


DAMAGED = {
    "another column": GOOD.replace(b"statistics", b"statisticz"),
    "a column once more": GOOD.replace(b"rejects", b"imagesx"),
    "another schema's name": GOOD.replace(b"deconvoy.schema\x18\x05shard", b"deconvoy.schema\x18\x05shord"),
    "no schema's name": GOOD.replace(b"deconvoy.schema", b"deconvoy.schemx"),
    "something else": other_schema(),
    "empty": b"",
    "cut": GOOD[:-20],
    "no Parquet": b"x" * 100,
}


@pytest.mark.parametrize("what", DAMAGED)
@pytest.mark.parametrize("columns", [(), ("images",)])
def test_a_damaged_result_is_made_again(root, what, columns):
    assert DAMAGED[what] != GOOD
    root.put(WORK.result, DAMAGED[what])
    made: list[Shard] = []
    stored = StoredResults(root, lambda item: (made.append(item), root.put(item.result, GOOD))[0])
    assert stored.read(WORK, columns)["images"].to_pylist() == [[IMAGE]]
    assert made == [WORK]
    assert stored.read(WORK, columns)["images"].to_pylist() == [[IMAGE]] and made == [WORK]


@pytest.mark.parametrize("trials", [150, pytest.param(3000, marks=pytest.mark.slow)])
def test_a_flipped_bit_of_a_result_never_reads_as_another_one_and_neither_hangs_nor_crashes_its_reader(root, trials):
    every = ((layer, channel, rank) for layer in range(-1, 3) for channel in range(20) for rank in range(9))
    names = ("layer_index", "channel", "rank")
    rows = [{**dict(zip(names, key, strict=True)), "image_index": sum(key), "patch": b"p" * 50} for key in every]
    data, wanted = (
        encode(PROJECTED, pa.Table.from_pylist(rows, PROJECTED)),
        [("layer_index", "==", 1), ("channel", ">=", 3)],
    )
    root.put("shards/c/right.parquet", data)
    right = read_table(root, "shards/c/right.parquet", None, wanted, sealed=True)
    for bit in (36070, *random.Random(0).sample(range(len(data) * 8), trials)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        root.put(WORK.result, bytes(flipped))
        try:
            assert read_table(root, WORK.result, None, wanted, sealed=True).equals(right), bit
        except DamagedFile as error:
            assert "\n" not in str(error)


def test_a_result_of_an_older_version_has_no_seal_and_is_read(root):
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([ROW], SHARD), buffer, write_page_checksum=True)
    root.put(WORK.result, bytes(buffer.getvalue()))
    assert StoredResults(root, lambda _: pytest.fail("it is good")).read(WORK)["images"].to_pylist() == [[IMAGE]]


def test_a_result_that_comes_out_damaged_again_is_named_in_one_line(root):
    stored = StoredResults(root, lambda item: root.put(item.result, DAMAGED["something else"]))
    with pytest.raises(
        DamagedFile, match=r"shards/c/a.parquet is damaged: its columns are not those of the schema"
    ) as told:
        stored.read(WORK)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"identity": {}, "manifest": ""}', b"[" * 100_000])
def test_a_pin_that_cannot_be_read_pins_nothing_and_is_written_again(root, tmp_path, data):
    (tmp_path / "photos").mkdir()
    Path(tmp_path / "photos" / "a.png").write_bytes(b"x")
    corpus = CorpusSpec(source=str(tmp_path / "photos"))
    spec = RunSpec(model=ModelSpec(source="deconvoy://zfnet-mini"), corpus=corpus, root=root.url)
    with manifest.list_corpus(corpus, lambda _: None) as listing:
        root.put(paths.spec_path("one"), data)
        pinned = identity.pin(root, "one", spec, listing)
        assert pinned.manifest == listing.latest(root)
        assert json.loads(root.read(paths.spec_path("one")))["manifest"] == pinned.manifest
        assert identity.pin(root, "one", spec, listing) == pinned


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b"[" * 100_000])
def test_a_manifest_that_cannot_be_read_is_one_line_with_the_way_out(root, data):
    root.put(paths.manifest_path("one"), data)
    with pytest.raises(
        DamagedRun, match=r"run 'one' is published, but its manifest.json is damaged.*deconvoy rm one"
    ) as told:
        documents.read_manifest(root, "one")
    assert "\n" not in str(told.value)
