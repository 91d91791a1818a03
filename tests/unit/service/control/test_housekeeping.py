"""What a root does not need any more: results of no run, strays, runs beyond those a schedule keeps; never what is in use."""

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli.main import app
from service.cli.submissions import schedules_of
from service.control import defaulting, rejects
from service.control.housekeeping import Housekeeping
from service.control.schedules import Schedules
from service.control.submissions import Submissions
from service.control.timetable import Schedule
from service.query import catalog
from tests.support.clusters import Clock, FakeCluster
from tests.support.published import publish
from workers.kinds import Kind
from workers.spec.plain import PlainSpec
from workers.store.attempts import Attempts, Begun, Ended, Progress
from workers.store.root import Root

NOW = datetime.now(UTC)
OLD = (NOW - timedelta(days=30)).timestamp()


def aged(root: Root) -> None:
    """Everything was written a month ago."""
    for path in Path(root.base).rglob("*"):
        os.utime(path, (OLD, OLD))


def keeper(root: Root, days: float = 7) -> Housekeeping:
    return Housekeeping(root, schedules_of(root), datetime.now(UTC), timedelta(days=days))


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


def test_old_results_of_published_runs_are_removed_on_request_and_the_tables_stay(root):
    aged(root)
    root.put("shards/c/young.parquet", b"result")
    before = files(root)
    asked = CliRunner().invoke(app, ["gc", "--root", root.base, "--drop-results", "--json"])
    removed = {each["path"]: each["why"] for each in json.loads(asked.stdout)["removed"]}
    assert removed == {
        "shards/c/left.parquet": "no published run uses it",
        "shards/d/left.parquet": "no published run uses it",
        "shards/c/used.parquet": "its runs are published",
        "shards/d/drawn.parquet": "its runs are published",
    }
    assert before - files(root) == set(removed) and catalog.find(root, "first").images > 0


def test_the_next_run_of_a_schedule_finds_the_results_of_the_newest_one(tmp_path):
    root = Root(str(tmp_path))
    nightly(root, keep=None, days=4)
    aged(root)
    keeping = Housekeeping(root, schedules_of(root), NOW, timedelta(days=7), drop_results=True)
    assert not keeping.unfinished()
    keeping.remove(keeping.plan())
    assert {path for path in files(root) if path.startswith("shards/")} == {"shards/c/3.parquet"}


def test_while_a_schedule_cannot_be_read_no_used_result_is_dropped(tmp_path):
    root = Root(str(tmp_path))
    nightly(root, keep=None, days=4)
    aged(root)
    (tmp_path / "schedules" / "nightly" / "schedule.json").write_text("{")
    keeping = Housekeeping(root, schedules_of(root), NOW, timedelta(days=7), drop_results=True)
    assert not [removal for removal in keeping.plan() if removal.path.startswith("shards/")]


def test_as_long_as_a_run_is_not_finished_every_result_stays(root):
    root.put("runs/begun/spec.json", b"{}")
    aged(root)
    assert keeper(root).plan() == [] and keeper(root).unfinished() == ["begun"]


def test_a_run_that_is_submitted_and_has_not_ended_may_need_every_result_too(root):
    attempts = Attempts(root, "submitted")
    attempts.take(1, Begun("2026-11-26T00:00:00+00:00", "http://head:8265", Kind.SCAN, PlainSpec({})))
    aged(root)
    assert keeper(root).plan() == [] and keeper(root).unfinished() == ["submitted"]
    attempts.end(1, Ended("2026-11-26T00:00:01+00:00", 2, "no layer 'relu9' in the model"))
    assert len(keeper(root).plan()) == 2 and not keeper(root).unfinished()


def test_a_run_that_nobody_goes_on_with_is_forgotten_if_it_is_named(root):
    attempts = Attempts(root, "given-up")
    attempts.take(1, Begun("2026-11-26T00:00:00+00:00", "http://head:8265", Kind.SCAN, PlainSpec({})))
    attempts.end(1, Ended("2026-11-26T00:00:01+00:00", 1, "an actor ran out of memory"))
    root.put("runs/given-up/spec.json", b"{}")
    root.put("tables/top/run=given-up/part-00000.parquet", b"not published")
    aged(root)

    def gc(*words: str):
        return CliRunner().invoke(app, ["gc", "--root", root.base, *words])

    assert "kept for unfinished runs given-up; --forget RUN" in gc().stdout
    for run, told in (("first", "is published; remove it with"), ("given", "nearest: given-up")):
        wrong = gc("--forget", run)
        assert wrong.exit_code == 2 and told in wrong.stderr
    assert gc("--forget", "given-up").exit_code == 0
    assert not [path for path in files(root) if "given-up" in path or "left" in path]
    assert catalog.find(root, "first").images > 0 and root.exists("shards/c/used.parquet")


def test_a_run_that_may_be_live_is_not_forgotten_whatever_the_age(root):
    attempts = Attempts(root, "live")
    attempts.take(1, Begun("2026-11-26T00:00:00+00:00", "http://head:8265", Kind.SCAN, PlainSpec({})))
    aged(root)
    attempts.report_progress(1, Progress("2026-11-26T00:00:00+00:00"))
    before = files(root)
    told = CliRunner().invoke(app, ["gc", "--root", root.base, "--older-than", "0", "--forget", "live"])
    assert told.exit_code == 2 and "run 'live' may be live" in told.stderr and files(root) == before


def test_a_forgotten_run_of_a_schedule_is_not_fired_again(tmp_path, cluster):
    root, clock = Root(str(tmp_path)), Clock(datetime(2026, 1, 1, 12, tzinfo=UTC))
    schedules = Schedules(root, Submissions(root, cluster, clock))
    [run] = nightly(root, keep=None, days=1)
    aged(root)
    keeping = Housekeeping(root, schedules_of(root), NOW, timedelta(days=7), [run])
    keeping.remove(keeping.plan())
    assert not [path for path in files(root) if path.startswith("runs/")]
    assert schedules.tick() == [] and not cluster.asked


def test_what_killed_writers_left_goes(root):
    half = {
        "shards/c/.abc.tmp", "runs/first/.def.tmp", "tables/top/run=first/.ghi.tmp", "keys/.j.tmp",
        "models/.k.tmp", "defaults/.n.tmp",
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


def added(root: Root, schedule: Schedule, at: datetime) -> None:
    """A schedule is added at some time."""
    Schedules(root, Submissions(root, FakeCluster(), Clock(at))).add(schedule)


def nightly(root: Root, keep: int | None, days: int, **more) -> list[str]:
    """Runs of a schedule, each published of a result of its own; the last one has failed."""
    spec = {"model": {"source": "deconvoy://zfnet-mini"}, "corpus": {"source": "/photos"}}
    added(
        root,
        Schedule("nightly", "0 2 * * *", "UTC", Kind.SCAN, PlainSpec(spec), keep=keep),
        datetime(2026, 1, 1, tzinfo=UTC),
    )
    runs = [f"nightly-202601{day:02}t020000z" for day in range(1, days + 1)]
    for day, run in enumerate(runs, start=1):
        fire = {"at": f"2026-01-{day:02}T02:00:00+00:00", "run": run, "refused": ""} | more
        root.put(f"schedules/nightly/fires/{run.rpartition('-')[2]}.json", json.dumps(fire).encode())
        root.put(f"runs/{run}/spec.json", b"{}")
        attempts = Attempts(root, run)
        attempts.take(1, Begun("2026-01-01T02:00:00+00:00", "http://head:8265", Kind.SCAN, PlainSpec({})))
        attempts.end(1, Ended("2026-01-01T02:10:00+00:00", int(day == days)))
        if day < days:
            publish(root, run, shards=[f"shards/c/{day}.parquet"])
            root.put(f"shards/c/{day}.parquet", b"result")
            root.put(f"tables/runs/run={run}/part-00000.parquet", b"its row")
    Path(root.path(f"runs/{runs[-1]}/spec.json")).unlink()
    return runs


def test_a_schedule_keeps_its_last_runs_and_always_the_newest_good_one(tmp_path):
    root = Root(str(tmp_path))
    runs = nightly(root, keep=2, days=5)
    publish(root, "by-hand")
    found = keeper(root).plan()
    keeper(root).remove(found)
    assert {run.run for run in catalog.runs(root)} == {runs[2], runs[3], "by-hand"}
    assert not [path for path in files(root) if runs[0] in path or runs[1] in path]
    assert {f"shards/c/{day}.parquet" for day in range(1, 5)} <= files(root)  # younger than the age
    aged(root)
    keeper(root).remove(keeper(root).plan())
    assert {"shards/c/3.parquet", "shards/c/4.parquet"} <= files(root) and "shards/c/1.parquet" not in files(root)


def test_a_schedule_keeps_the_default_of_the_root_too(tmp_path):
    root = Root(str(tmp_path))
    runs = nightly(root, keep=2, days=5)
    defaulting.write(catalog.find(root, runs[0]))
    keeper(root).remove(keeper(root).plan())
    assert {run.run for run in catalog.runs(root)} == {runs[0], runs[2], runs[3]}


def test_a_removal_that_is_killed_anywhere_shows_nobody_half_a_run_and_is_gone_on_with(tmp_path):
    whole = Root(str(tmp_path / "whole"))
    runs = nightly(whole, keep=1, days=3)
    aged(whole)
    found = [removal for removal in keeper(whole).plan() if removal.run]
    assert found[0].path == f"tables/runs/run={runs[0]}/part-00000.parquet" and len(found) > 8
    assert {removal.run for removal in found} == {runs[0]} and found[-1].path == f"runs/{runs[0]}/spec.json"
    for killed in range(len(found) + 1):
        root = Root(str(tmp_path / f"killed-{killed}"))
        shutil.copytree(whole.base, root.base)
        keeper(root).remove(found[:killed])
        tables = {path for path in files(whole) if f"run={runs[0]}" in path}
        seen = root.exists(found[0].path)
        assert not seen or tables <= files(root)
        assert not keeper(root).unfinished()
        keeper(root).remove(keeper(root).plan())
        assert not [path for path in files(root) if runs[0] in path], killed
        assert "shards/c/1.parquet" not in files(root) and catalog.find(root, runs[1]).images > 0
        assert keeper(root).plan() == []
        shutil.rmtree(root.base)


def test_a_run_whose_removal_was_killed_and_that_is_submitted_again_is_left_alone(tmp_path):
    root = Root(str(tmp_path))
    runs = nightly(root, keep=1, days=3)
    found = [removal for removal in keeper(root).plan() if removal.run]
    keeper(root).remove([removal for removal in found if "attempts" not in removal.path])
    Attempts(root, runs[0]).take(2, Begun("2026-02-01T02:00:00+00:00", "http://head:8265", Kind.SCAN, PlainSpec({})))
    aged(root)
    assert not keeper(root).plan() and keeper(root).unfinished() == [runs[0]]


@pytest.mark.parametrize("mark", [{}, {"submitted": True}], ids=["written before there were marks", "marked"])
def test_the_last_fire_is_not_fired_again_when_its_run_is_removed_because_a_later_one_is_kept(tmp_path, cluster, mark):
    root, clock = Root(str(tmp_path)), Clock(datetime(2026, 1, 1, tzinfo=UTC))
    schedules = Schedules(root, Submissions(root, cluster, clock))
    runs = nightly(root, keep=1, days=2, **mark)
    shutil.rmtree(tmp_path / "runs" / runs[1])
    (tmp_path / "schedules" / "nightly" / "fires" / "20260102t020000z.json").unlink()
    clock.time += timedelta(hours=12)
    later = schedules.run_now("nightly").run
    publish(root, later)
    for _ in range(2):
        keeper(root).remove(keeper(root).plan())
        assert {run.run for run in catalog.runs(root)} == {later}
        assert schedules.tick() == [] and [run for _, run, _ in cluster.asked] == [later]


def test_of_a_schedule_that_cannot_be_understood_everything_stays_and_the_others_are_tidied_up(tmp_path):
    root = Root(str(tmp_path))
    runs = nightly(root, keep=1, days=3)
    path = tmp_path / "schedules" / "nightly" / "schedule.json"
    for name, text in (("odd", path.read_text().replace('"tz": "UTC"', '"tz": "Mars/Base"')), ("gone", "")):
        shutil.copytree(tmp_path / "schedules" / "nightly", tmp_path / "schedules" / name)
        (tmp_path / "schedules" / name / "schedule.json").write_text(text)
    (tmp_path / "schedules" / "gone" / "schedule.json").unlink()
    aged(root)
    told = CliRunner().invoke(app, ["gc", "--root", root.base])
    assert told.exit_code == 0 and "there is no time zone 'Mars/Base'" in told.stderr
    assert not root.exists(f"runs/{runs[0]}/manifest.json")
    assert len(root.files("schedules/odd/fires")) == 3 and not root.files("schedules/gone/fires")


def test_of_fires_the_last_ones_stay_and_those_of_runs_that_are_there_and_the_one_that_is_due(tmp_path):
    root, new_year = Root(str(tmp_path)), NOW.replace(month=1, day=1, hour=0, minute=0, second=0, microsecond=0)
    spec = {"model": {"source": "deconvoy://zfnet-mini"}, "corpus": {"source": "/photos"}}
    starts = {"often": new_year - timedelta(days=99), "rare": new_year}
    for name, cron in (("often", "0 * * * *"), ("rare", "0 0 1 1 *")):
        added(root, Schedule(name, cron, "UTC", Kind.SCAN, PlainSpec(spec)), new_year - timedelta(days=400))
        for hour in range(300):
            stamp = f"{starts[name] + timedelta(hours=hour):%Y%m%dt%H%M%Sz}"
            root.put(f"schedules/{name}/fires/{stamp}.json", b"nobody reads it")
    often = root.path("schedules/often/fires")
    fires = [f"schedules/often/fires/{name}" for name in sorted(os.listdir(often))]
    publish(root, f"often-{Path(fires[1]).stem}")
    assert keeper(root).plan() == []
    aged(root)
    assert [removal.path for removal in keeper(root).plan()] == [fires[0], *fires[2:200]]


def test_the_command_says_what_would_go_and_then_removes_it(root):
    aged(root)
    before = files(root)
    dry = CliRunner().invoke(app, ["gc", "--root", root.base, "--dry-run"])
    assert dry.exit_code == 0 and "would be removed" in dry.stdout and "shards/c/left.parquet" in dry.stdout
    assert files(root) == before
    done = CliRunner().invoke(app, ["gc", "--root", root.base, "--json"])
    assert {each["path"] for each in json.loads(done.stdout)["removed"]} == before - files(root)


def test_a_verdict_that_a_run_deletes_while_verdicts_are_read_is_not_listed(root, monkeypatch):
    told = {"uri": "/photos/a.png", "reason": "vanished", "detail": "gone"}
    root.put("verdicts/a.stale.json", json.dumps(told).encode())
    names = {"a.stale.json": 1, "b.stale.json": 1}
    monkeypatch.setattr(Root, "files", lambda *_: names)
    assert [verdict.uri for verdict in rejects.verdicts(root)] == ["/photos/a.png"]


def test_files_that_crashed_their_decoder_are_tried_again_when_asked_for(root):
    for name in ("a", "b"):
        told = {"uri": f"/photos/{name}.png", "reason": "decoder_crash", "detail": "signal 11"}
        root.put(f"verdicts/{name}.json", json.dumps(told).encode())
    wrong = CliRunner().invoke(app, ["retry-rejects", "/photos/c.png", "--root", root.base])
    assert (
        wrong.exit_code == 2
        and "'/photos/c.png' has no stored verdict; other rejects are read again whenever their shard is scanned"
        in wrong.stderr
    )
    one = CliRunner().invoke(app, ["retry-rejects", "/photos/a.png", "--root", root.base])
    assert one.exit_code == 0 and set(root.files("verdicts")) == {"b.json"}
    CliRunner().invoke(app, ["retry-rejects", "--root", root.base])
    assert not root.files("verdicts")


def test_a_run_is_hidden_though_the_plan_was_made_from_a_stale_listing(tmp_path, monkeypatch):
    root = Root(str(tmp_path / "root"))
    publish(root)
    aged(root)
    house = keeper(root)
    files = Root.files
    monkeypatch.setattr(
        Root, "files", lambda root, rel: {} if "/runs/" in rel or rel == "runs/first" else files(root, rel)
    )
    monkeypatch.setattr(Housekeeping, "_known", ["first"])
    planned = house.removal_of("first")
    monkeypatch.setattr(Root, "files", files)
    assert not any(removal.path.startswith(("tables/runs/", "runs/first/manifest")) for removal in planned)
    house.remove(planned)
    assert catalog.runs(root) == () and not list(Path(root.base).glob("tables/runs/*/*.parquet"))
