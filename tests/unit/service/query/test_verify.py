"""`verify` finds any flipped bit of a published run and says the way out; `rm` removes a run; a damaged one hinders no other."""

import json
import os
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from jobs.run import publish
from service.cli.main import app
from service.query.verifying import verify_runs
from tests.support import published as made
from workers.corpus import manifest
from workers.errors import RunError
from workers.kinds import Kind
from workers.spec.parts import CorpusSpec
from workers.spec.plain import PlainSpec
from workers.store import paths
from workers.store.attempts import Attempts, Begun, Ended, Progress
from workers.store.documents import PIN, Pin
from workers.store.manifest import RunFacts
from workers.store.root import Root
from workers.store.rows import TableWriter
from workers.store.tables.registry import TABLES


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Root:
    """A root with a run, as a job publishes it."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "corpus").mkdir()
    (folder / "corpus" / "a.png").write_bytes(b"x")
    root = Root(str(folder / "root"))
    with manifest.list_corpus(CorpusSpec(source=str(folder / "corpus")), lambda _: None) as listing:
        rel = listing.commit(root)
    publish_run(root, "first", rel, folder)
    return root


def publish_run(root: Root, run: str, listed: str, scratch: Path) -> None:
    parts = {}
    channels = dict.fromkeys(made.CHANNELS, 1)
    for name, rows in made._rows(2, made.names(), channels).items():
        with TableWriter(root, TABLES[name], run, scratch, staged=True) as writer:
            writer.write(pa.Table.from_pylist(rows, TABLES[name].schema))
            parts[name] = writer.close()
    root.put(paths.spec_path(run), PIN.encode(Pin({"k": 2}, listed)))
    root.put("shards/c/a.parquet", b"result")
    facts = RunFacts.model_validate({
        "job": "scan", "spec": {}, "identity": {"k": 2}, "model": {"source": "deconvoy://none", "fingerprint": "f"},
        "corpus": {"source": "/photos", "manifest": listed}, "created": "2026-11-26T00:00:00+00:00",
        "totals": {"listed": 13, "images": 12, "rejects": 1, "rejects_by_reason": {"damaged": 1}, "layers": 4, "channels": 4},
        "layers": made.layers_of(channels), "seconds": 1.5, "images_per_s": None, "versions": {},
        "shards": ["shards/c/a.parquet", "shards/c/b.parquet"],
    })  # fmt: skip
    publish.publish(root, run, parts, facts, scratch)


@pytest.fixture
def root(small, tmp_path) -> Root:
    import shutil

    shutil.copytree(small.base, tmp_path / "root")
    return Root(str(tmp_path / "root"))


def run_files(root: Root) -> list[Path]:
    """Everything that the run consists of."""
    below = [Path(root.base) / name for name in ("tables", "runs", "corpora")]
    return sorted(path for folder in below for path in folder.rglob("*") if path.is_file())


def verify(root: Root, *words: str) -> Any:
    return CliRunner().invoke(app, ["verify", *words, "--root", root.base])


def test_a_run_as_it_was_published_is_whole_and_results_that_are_gone_are_no_damage(root):
    done = verify(root)
    assert done.exit_code == 0 and "first  all files are intact" in done.stdout
    [finding] = verify_runs(root, "first")["first"]
    assert finding.path == "shards/c/b.parquet" and not finding.damage
    assert "will be computed again" in done.stdout


@pytest.mark.parametrize("trials", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_any_flipped_bit_of_a_published_run_is_found(root, trials):
    files = run_files(root)
    assert {path.name for path in files} >= {"manifest.json", "manifest.sha256", "spec.json", "manifest-0.parquet"}
    chosen = random.Random(trials)
    for _ in range(trials):
        path = chosen.choice(files)
        data = path.read_bytes()
        bit = chosen.randrange(len(data) * 8)
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        found = [each for each in verify_runs(root, None)["first"] if each.damage]
        path.write_bytes(data)
        assert found, f"{path}, bit {bit}"
        assert all("\n" not in f"{each.path} {each.problem}; {each.remedy}" for each in found)
    assert not [each for each in verify_runs(root, None)["first"] if each.damage]


def test_every_bit_of_a_manifest_is_covered(root):
    path = Path(root.path(paths.manifest_path("first")))
    data = path.read_bytes()
    step = 97
    for bit in range(0, len(data) * 8, step):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert any(each.damage for each in verify_runs(root, "first")["first"]), bit


def test_each_damaged_file_is_one_line_with_the_way_out_and_the_exit_code_is_1(root):
    [units] = (Path(root.base) / "tables" / "units" / "run=first").iterdir()
    units.write_bytes(units.read_bytes()[:-1])
    [top] = (Path(root.base) / "tables" / "top" / "run=first").iterdir()
    top.unlink()
    stray = top.with_name("part-00000-0123456789abcdef.parquet")
    stray.write_bytes(b"of another attempt")
    done = verify(root, "first")
    assert done.exit_code == 1
    lines = {line.split("  ")[1].split(" ")[0].rpartition("/")[2]: line for line in done.stdout.splitlines()}
    assert "bytes instead of" in lines[units.name] and "repeat the command that made the run" in lines[units.name]
    assert "is missing; repeat the command that made the run" in lines[top.name]
    assert "is not in the manifest" in lines[stray.name]
    told = json.loads(verify(root, "--json").stdout)
    assert told["runs"] == ["first"] and {each["path"].rpartition("/")[2] for each in told["findings"]} >= set(lines)


def test_a_manifest_of_an_older_version_has_no_checksum_and_that_is_said_and_is_no_damage(root):
    root.delete(paths.checksum_path("first"))
    done = verify(root)
    assert done.exit_code == 0 and "an older version published the run" in done.stdout


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"run": "second", "version": 1, "tables": {"a": 1}}'])
def test_a_manifest_that_cannot_be_read_is_a_finding(root, data):
    root.put(paths.manifest_path("first"), data)
    done = verify(root)
    assert done.exit_code == 1 and "manifest.json" in done.stdout and "deconvoy rm first" in done.stdout


def test_a_row_of_runs_that_is_missing_or_another_ones_is_found(root):
    folder = Path(root.path(paths.table_folder("runs", "first")))
    [row] = folder.iterdir()
    row.rename(row.with_name("part-00000-0123456789abcdef.parquet"))
    assert "does not match the SHA-256 in its name" in verify(root).stdout
    (folder / "part-00000-0123456789abcdef.parquet").unlink()
    done = verify(root)
    assert done.exit_code == 1 and "has 0 files instead of one" in done.stdout


def test_a_run_that_is_not_published_is_refused(root):
    with pytest.raises(RunError, match=r"run 'frist' is not published in .*; nearest: first"):
        verify_runs(root, "frist")
    assert verify(root, "../first").exit_code == 2


def test_the_same_tables_published_again_restore_what_is_missing_or_damaged_byte_for_byte(root, tmp_path):
    before = {path: path.read_bytes() for path in run_files(root)}
    for table, harm in (("units", None), ("top", b"other bytes"), ("runs", b"damaged")):
        [path] = (Path(root.base) / "tables" / table / "run=first").iterdir()
        if harm is None:
            path.unlink()
        else:
            path.write_bytes(harm)
    root.put(paths.spec_path("first"), b"")
    assert verify(root).exit_code == 1
    publish_run(root, "first", "corpora/" + next(iter(root.folders("corpora"))) + "/manifest-0.parquet", tmp_path)
    assert verify(root).exit_code == 0
    assert {path: path.read_bytes() for path in run_files(root)} == before


def test_rm_removes_a_run_and_nothing_of_another(root):
    made.publish(root, "second")
    kept = {path for path in run_files(root) if "first" not in str(path.relative_to(root.base))}
    root.put("runs/first/staged/top/part-00000-0.parquet", b"staged")
    done = CliRunner().invoke(app, ["rm", "first", "--root", root.base])
    assert done.exit_code == 0 and done.stdout.startswith("removed run first: ")
    assert set(run_files(root)) == kept and root.exists("shards/c/a.parquet")
    gone = CliRunner().invoke(app, ["rm", "first", "--root", root.base])
    assert gone.exit_code == 2 and "there is no run 'first'" in gone.stderr
    told = CliRunner().invoke(app, ["rm", "second", "--root", root.base, "--json"])
    assert "runs/second/manifest.json" in [each["path"] for each in json.loads(told.stdout)["removed"]]


def test_rm_removes_a_run_whose_manifest_is_damaged(root):
    root.put(paths.manifest_path("first"), b"")
    assert CliRunner().invoke(app, ["rm", "first", "--root", root.base]).exit_code == 0
    assert [path.name for path in run_files(root)] == ["manifest-0.parquet"]


def test_rm_refuses_a_run_that_may_be_live(root):
    attempts = Attempts(root, "first")
    attempts.take(1, Begun("2026-11-26T00:00:00+00:00", "http://head:8265", Kind.SCAN, PlainSpec({})))
    attempts.report_progress(1, Progress("2026-11-26T00:00:00+00:00"))
    refused = CliRunner().invoke(app, ["rm", "first", "--root", root.base])
    assert refused.exit_code == 2 and "run 'first' may be live" in refused.stderr
    attempts.end(1, Ended("2026-11-26T00:00:01+00:00", 0))
    assert CliRunner().invoke(app, ["rm", "first", "--root", root.base]).exit_code == 0
    root.put("runs/begun/spec.json", b"{}")
    refused = CliRunner().invoke(app, ["rm", "begun", "--root", root.base])
    assert refused.exit_code == 2 and "may be live" in refused.stderr
    old = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
    os.utime(root.path("runs/begun/spec.json"), (old, old))
    assert CliRunner().invoke(app, ["rm", "begun", "--root", root.base]).exit_code == 0


def test_gc_names_a_damaged_run_keeps_every_result_and_does_the_rest(root):
    old = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
    staged = "runs/first/staged/top/part-00000-0.parquet"
    root.put("tables/units/run=first/part-00000-0.parquet", b"of a killed attempt")
    for path in (staged, "shards/c/unneeded.parquet", "tables/top/.left.tmp"):
        root.put(path, b"left")
    made.publish(root, "second")
    for file in Path(root.base).rglob("*"):
        os.utime(file, (old, old))
    listed = json.loads(CliRunner().invoke(app, ["gc", "--root", root.base, "--dry-run", "--json"]).stdout)
    assert {each["path"] for each in listed["removed"]} == {
        staged, "shards/c/unneeded.parquet", "tables/top/.left.tmp", "tables/units/run=first/part-00000-0.parquet"
    }  # fmt: skip
    root.put(paths.manifest_path("second"), b"")
    done = CliRunner().invoke(app, ["gc", "--root", root.base])
    assert done.exit_code == 0 and "run 'second' is published, but its manifest.json is damaged" in done.stderr
    assert not root.exists("tables/top/.left.tmp") and not root.exists(staged)
    assert root.exists("shards/c/unneeded.parquet")
