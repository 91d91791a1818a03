"""What a root does not need any more: results of no run, strays, runs beyond those a schedule keeps; never what is in use."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service import catalog
from service.cli import app
from service.control import nowhere
from service.housekeeping import Housekeeping
from service.timetable import Schedule
from tests.support.published import publish
from workers.store.attempts import Attempts, Begun, Ended
from workers.store.root import Root

NOW = datetime.now(UTC)
OLD = (NOW - timedelta(days=30)).timestamp()


def aged(root: Root) -> None:
    """Everything was written a month ago."""
    for path in Path(root.base).rglob("*"):
        os.utime(path, (OLD, OLD))


def keeper(root: Root, days: float = 7) -> Housekeeping:
    return Housekeeping(root, nowhere(root), datetime.now(UTC), timedelta(days=days))


def files(root: Root) -> set[str]:
    return {str(path.relative_to(root.base)) for path in Path(root.base).rglob("*") if path.is_file()}


@pytest.fixture
def root(tmp_path) -> Root:
    root = Root(str(tmp_path))
    publish(root, shards=["shards/c/used.parquet"], groups=["shards/d/drawn.parquet"])
    for name in ("c/used", "d/drawn", "c/left", "d/left"):
        root.put(f"shards/{name}.parquet", b"result")
    return root


def test_results_that_a_published_run_was_made_of_stay_and_others_go_when_they_are_old(root):
    assert keeper(root).plan() == []
    aged(root)
    root.put("shards/c/young.parquet", b"result")
    before = files(root)
    found = keeper(root).plan()
    assert {each.path for each in found} == {"shards/c/left.parquet", "shards/d/left.parquet"}
    keeper(root).remove(found)
    assert before - files(root) == {each.path for each in found}
    assert catalog.find(root, "first").images > 0


def test_as_long_as_a_run_is_not_finished_every_result_stays(root):
    root.put("runs/begun/spec.json", b"{}")
    aged(root)
    assert keeper(root).plan() == [] and keeper(root).unfinished() == ["begun"]


def test_a_run_that_is_submitted_and_has_not_ended_may_need_every_result_too(root):
    attempts = Attempts(root, "submitted")
    attempts.take(1, Begun("2026-11-26T00:00:00+00:00", "http://head:8265", "scan", {}))
    aged(root)
    assert keeper(root).plan() == [] and keeper(root).unfinished() == ["submitted"]
    attempts.end(1, Ended("2026-11-26T00:00:01+00:00", 2, "no layer 'relu9' in the model"))
    assert len(keeper(root).plan()) == 2 and not keeper(root).unfinished()


def test_what_killed_writers_left_goes(root):
    half = {
        "shards/c/.abc.tmp", "runs/first/.def.tmp", "tables/top/run=first/.ghi.tmp", "keys/.j.tmp", "models/.k.tmp",
        "runs/first/attempts/.l.tmp", "schedules/nightly/fires/.m.tmp",
    }  # fmt: skip
    for path in half | {"idempotency/old.json"}:
        root.put(path, b"half")
    root.put("tables/top/run=never/part-00000.parquet", b"of a run that nobody began")
    aged(root)
    root.put("runs/first/.young.tmp", b"being written")
    root.put("idempotency/young.json", b"{}")
    gone = {each.path for each in keeper(root).plan() if "left" not in each.path}
    assert gone == half | {"tables/top/run=never/part-00000.parquet", "idempotency/old.json"}


def test_a_schedule_keeps_its_last_runs_and_always_the_newest_good_one(tmp_path):
    root = Root(str(tmp_path))
    schedules = nowhere(root)
    spec = {"model": {"source": "deconvoy://zfnet-mini"}, "corpus": {"source": "/photos"}}
    schedules.add(Schedule("nightly", "0 2 * * *", "UTC", "scan", spec, keep=2))
    runs = [f"nightly-2026010{day}t020000z" for day in range(1, 6)]
    for day, run in enumerate(runs, start=1):
        fire = {"at": f"2026-01-0{day}T02:00:00+00:00", "run": run, "refused": ""}
        root.put(f"schedules/nightly/fires/2026010{day}t020000z.json", json.dumps(fire).encode())
        if day < 5:  # the last one has failed
            publish(root, run, shards=[f"shards/c/{day}.parquet"])
            root.put(f"shards/c/{day}.parquet", b"result")
    publish(root, "by-hand")
    found = keeper(root).plan()
    assert found[0].path == f"runs/{runs[0]}/manifest.json"  # nobody sees half of it
    keeper(root).remove(found)
    assert {run.run for run in catalog.runs(root)} == {runs[2], runs[3], "by-hand"}
    assert not [path for path in files(root) if runs[0] in path or runs[1] in path if "fires" not in path]
    assert {f"shards/c/{day}.parquet" for day in range(1, 5)} <= files(root)  # younger than the age
    aged(root)
    keeper(root).remove(keeper(root).plan())
    assert {"shards/c/3.parquet", "shards/c/4.parquet"} <= files(root) and "shards/c/1.parquet" not in files(root)


def test_the_command_says_what_would_go_and_then_removes_it(root):
    aged(root)
    before = files(root)
    dry = CliRunner().invoke(app, ["gc", "--root", root.base, "--dry-run"])
    assert dry.exit_code == 0 and "would go" in dry.stdout and "shards/c/left.parquet" in dry.stdout
    assert files(root) == before
    done = CliRunner().invoke(app, ["gc", "--root", root.base, "--json"])
    assert {each["path"] for each in json.loads(done.stdout)["removed"]} == before - files(root)


def test_files_that_crashed_their_decoder_are_tried_again_when_asked_for(root):
    for name in ("a", "b"):
        told = {"uri": f"/photos/{name}.png", "reason": "decoder_crash", "detail": "signal 11"}
        root.put(f"verdicts/{name}.json", json.dumps(told).encode())
    wrong = CliRunner().invoke(app, ["retry-rejects", "/photos/c.png", "--root", root.base])
    assert wrong.exit_code == 2 and "'/photos/c.png' is not left out" in wrong.stderr
    one = CliRunner().invoke(app, ["retry-rejects", "/photos/a.png", "--root", root.base])
    assert one.exit_code == 0 and set(root.files("verdicts")) == {"b.json"}
    CliRunner().invoke(app, ["retry-rejects", "--root", root.base])
    assert not root.files("verdicts")
