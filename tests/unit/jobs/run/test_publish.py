"""Publishing: of the writers of one run id the first stands, whatever the others have written; what nobody names goes."""

import uuid
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.run import publish
from workers.errors import DamagedRun
from workers.host import retrying
from workers.kinds import Kind
from workers.store import paths, verify
from workers.store.facts import CorpusFacts, ModelFacts, PartFile, Totals
from workers.store.manifest import RunFacts
from workers.store.root import Root
from workers.store.rows import TableWriter
from workers.store.tables.shared import REJECTS

RUN = "flowers"
FACTS = RunFacts(
    job=Kind.SCAN,
    spec={},
    model=ModelFacts(source="deconvoy://zfnet-mini", fingerprint="f"),
    corpus=CorpusFacts(source="/photos"),
    created="2026-11-26T00:00:00+00:00",
    totals=Totals(listed=1, images=0, rejects=1, rejects_by_reason={"damaged": 1}, layers=1, channels=1),
    seconds=1.0,
    images_per_s=None,
    versions={},
)

Parts = Mapping[str, tuple[PartFile, ...]]


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path / "root"))


def written(root: Root, scratch: Path, detail: str, *, staged: bool = True) -> Parts:
    """A table of one row, in a part that no manifest names yet; one that is not staged is what older versions left."""
    row = {"image_id": "a.png", "uri": "/a.png", "image_index": 0, "bytes": 7, "reason": "damaged", "detail": detail}
    with TableWriter(root, REJECTS, RUN, scratch, staged=staged) as writer:
        writer.write(pa.Table.from_pylist([row], REJECTS.schema))
        return {REJECTS.name: writer.close()}


def details(root: Root) -> list[str]:
    """What a reader of the whole folder sees."""
    return pq.read_table(root.path("tables/rejects"))["detail"].to_pylist()


def test_a_writer_that_comes_late_with_other_tables_is_refused_and_takes_nothing_from_the_one_that_stands(
    root, tmp_path
):
    first, second = written(root, tmp_path, "first"), written(root, tmp_path, "second")
    told = publish.publish(root, RUN, first, FACTS, tmp_path)
    with pytest.raises(
        DamagedRun,
        match="was already published with different tables; choose another --run, or remove it: deconvoy rm flowers --root ROOT",
    ):
        publish.publish(root, RUN, second, FACTS, tmp_path)
    assert publish.read_manifest(root, RUN) == told and details(root) == ["first"]


def test_a_writer_that_comes_late_with_the_same_tables_gets_the_manifest_that_stands(root, tmp_path):
    parts = written(root, tmp_path, "same")
    told = publish.publish(root, RUN, parts, FACTS, tmp_path)
    assert publish.publish(root, RUN, parts, FACTS.model_copy(update={"seconds": 2.0}), tmp_path) == told
    assert details(root) == ["same"]


def test_what_an_attempt_left_that_was_never_published_goes_with_the_first_that_is(root, tmp_path):
    written(root, tmp_path, "of another spec", staged=False)
    root.put("tables/units/run=flowers/part-00000-0.parquet", b"of another kind of job")
    root.put("tables/units/run=others/part-00000-0.parquet", b"of another run")
    publish.publish(root, RUN, written(root, tmp_path, "ours"), FACTS, tmp_path)
    assert details(root) == ["ours"]
    assert not root.files("tables/units/run=flowers") and root.files("tables/units/run=others")


def test_a_publisher_that_was_killed_after_its_manifest_is_completed_by_the_next_who_asks(root, tmp_path, monkeypatch):
    written(root, tmp_path, "of another spec", staged=False)
    with monkeypatch.context() as patch:
        patch.setattr(publish, "complete", lambda *_: None)
        told = publish.publish(root, RUN, written(root, tmp_path, "ours"), FACTS, tmp_path)
    assert sorted(details(root)) == ["of another spec", "ours"] and not root.files("tables/runs/run=flowers")
    publish.complete(root, told, tmp_path)
    assert details(root) == ["ours"] and len(root.files("tables/runs/run=flowers")) == 1


@pytest.mark.parametrize("harm", ["vanished", "empty", "not JSON", "of another run"])
def test_a_claim_that_is_removed_or_damaged_while_a_run_is_published_is_named_at_once(
    harm, root, tmp_path, monkeypatch
):
    create, parts = Root.create, written(root, tmp_path, "ours")

    def harmed(self: Root, rel: str, data: bytes) -> bool:
        created = create(self, rel, data)
        if rel == paths.claim_path(RUN) and harm == "vanished":
            self.delete(rel)
        elif rel == paths.claim_path(RUN):
            self.put(rel, {"empty": b"", "not JSON": b"x"}.get(harm, data.replace(b"flowers", b"flights")))
        return created

    monkeypatch.setattr(Root, "create", harmed)
    with pytest.raises(DamagedRun) as raised:
        publish.publish(root, RUN, parts, FACTS, tmp_path)
    message = str(raised.value)
    assert message.startswith("run 'flowers' ") and "claim.json" in message and "manifest.json" not in message
    assert "run the same command again" in message and "is published" not in message
    assert (harm == "vanished") != ("deconvoy rm flowers" in message)
    assert not root.exists(paths.manifest_path(RUN))
    monkeypatch.undo()
    root.delete(paths.claim_path(RUN))
    publish.publish(root, RUN, parts, FACTS, tmp_path)
    assert details(root) == ["ours"]


@pytest.mark.parametrize("data", [b"", b"{", b"[]"])
def test_a_damaged_claim_is_not_called_a_damaged_manifest_and_one_of_a_published_run_is_void(data, root, tmp_path):
    root.put(paths.claim_path(RUN), data)
    with pytest.raises(
        DamagedRun, match=r"is claimed but not published, and its claim\.json is damaged: it cannot be read"
    ):
        publish.find_or_finish(root, RUN)
    root.delete(paths.claim_path(RUN))
    manifest = publish.publish(root, RUN, written(root, tmp_path, "ours"), FACTS, tmp_path)
    root.put(paths.claim_path(RUN), data)
    assert publish.find_or_finish(root, RUN) == manifest


@pytest.mark.parametrize("operation", ["cp_file", "rm_file"])
def test_a_store_that_refuses_in_the_middle_of_the_moves_is_waited_for(operation, tmp_path, monkeypatch):
    root = Root(f"memory://{uuid.uuid4().hex}", 60)
    real, refusals = getattr(root.filesystem, operation), [OSError(5, "SlowDown")] * 3

    def refusing(path: str, *more: str) -> None:
        if "/staged/" in path and refusals:
            raise refusals.pop()
        real(path, *more)

    monkeypatch.setattr(root.filesystem, operation, refusing)
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.001)
    manifest = publish.publish(root, RUN, written(root, tmp_path, "ours"), FACTS, tmp_path)
    assert not refusals and not verify.damaged_parts(root, manifest) and not publish.staged(root, RUN)


def test_a_part_in_its_place_that_is_damaged_does_not_count_as_moved(root, tmp_path):
    parts = written(root, tmp_path, "ours")
    [part] = parts[REJECTS.name]
    root.delete(paths.staged_path(part.path))
    root.put(part.path, b"damaged")
    with pytest.raises(DamagedRun, match=f"its file {part.path} is missing"):
        publish.publish(root, RUN, parts, FACTS, tmp_path)
