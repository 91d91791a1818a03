"""Schedules over a simulated year: every fire exactly once however many schedulers look, across both clock changes."""

import itertools
import json
import random
import shutil
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from typer.testing import CliRunner

from service.cli import schedule, serve
from service.cli.main import app
from service.control.clusters import State
from service.control.housekeeping import Housekeeping
from service.control.schedules import Schedules
from service.control.statuses import RunState
from service.control.submissions import Submissions
from service.control.timetable import Overlap, Schedule
from tests.support.clusters import SPEC, Clock, FakeCluster
from tests.support.published import publish
from workers.errors import ClusterError, RunError, SpecError, UsageError
from workers.kinds import Kind
from workers.spec.plain import PlainSpec
from workers.store.attempts import Attempts, Begun
from workers.store.root import Root

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def clock() -> Clock:
    return Clock(START)


def scheduler(root, cluster, clock) -> Schedules:
    root = Root(str(root))
    return Schedules(root, Submissions(root, cluster, clock))


def nightly(**more) -> Schedule:
    return replace(Schedule("nightly", "30 2 * * *", "Europe/Berlin", Kind.SCAN, PlainSpec(SPEC)), **more)


def finish(cluster) -> None:
    """Whatever runs has ended."""
    cluster.jobs = dict.fromkeys(cluster.jobs, State.FAILED)


def test_two_schedulers_fire_every_night_of_a_year_once_across_both_changes_of_the_clock(tmp_path, cluster, clock):
    two = [scheduler(tmp_path, cluster, clock) for _ in range(2)]
    two[0].add(nightly())
    while clock.time < START + timedelta(days=365):
        clock.time += timedelta(hours=5, minutes=7)
        for each in two:
            each.tick()
        finish(cluster)
    runs = [run for _, run, _ in cluster.asked]
    forward = CronSim("30 2 * * *", START.astimezone(BERLIN))
    expected = []
    while (fire := next(forward).astimezone(UTC)) <= clock.time:
        expected.append(f"nightly-{fire:%Y%m%dt%H%M%Sz}")
    assert runs == expected and len(set(runs)) == len(runs) == 366
    # In the night of March 29 half past two is skipped: it fires at three; on October 25 it comes twice and fires once.
    assert "nightly-20260329t010000z" in runs and "nightly-20261025t003000z" in runs
    assert "nightly-20261025t013000z" not in runs


def test_every_ten_minutes_follows_the_clock_through_the_doubled_hour(tmp_path, cluster, clock):
    clock.time = datetime(2026, 10, 24, 23, tzinfo=UTC)
    schedules = scheduler(tmp_path, cluster, clock)
    schedules.add(nightly(name="often", cron="*/10 * * * *"))
    while clock.time < datetime(2026, 10, 25, 3, tzinfo=UTC):
        clock.time += timedelta(minutes=1)
        schedules.tick()
        finish(cluster)
    times = [fire.at for fire in schedules.fires("often")]
    assert len(times) == len(set(times)) == 24


@pytest.mark.parametrize(("day", "fires"), [("2026-10-25", 12), ("2026-03-29", 0), ("2026-07-01", 6)])
def test_an_expression_whose_minute_begins_with_a_star_follows_the_clock_in_a_fixed_hour_too(
    tmp_path, cluster, clock, day, fires
):
    clock.time = datetime.fromisoformat(day).replace(tzinfo=BERLIN).astimezone(UTC)
    schedules = scheduler(tmp_path, cluster, clock)
    schedules.add(nightly(name="often", cron="*/10 2 * * *"))
    for _ in range(5 * 60):
        clock.time += timedelta(minutes=1)
        schedules.tick()
        finish(cluster)
    assert len(schedules.fires("often")) == len(cluster.asked) == fires


def test_of_what_was_missed_the_latest_alone_is_fired(tmp_path, cluster, clock):
    schedules = scheduler(tmp_path, cluster, clock)
    schedules.add(nightly())
    clock.time += timedelta(days=10, hours=12)
    assert [fire.run for fire in schedules.tick()] == ["nightly-20260111t013000z"]
    assert schedules.tick() == []


def test_a_fire_whose_holder_died_is_submitted_by_another(tmp_path, cluster, clock):
    schedules = scheduler(tmp_path, cluster, clock)
    schedules.add(nightly())
    clock.time += timedelta(days=1)
    root = Root(str(tmp_path))
    assert root.create(
        "schedules/nightly/fires/20260101t013000z.json",
        b'{"at": "2026-01-01T01:30:00+00:00", "run": "nightly-20260101t013000z", "refused": ""}',
    )
    assert [fire.run for fire in schedules.tick()] == ["nightly-20260101t013000z"] and len(cluster.asked) == 1


def test_a_cluster_that_is_down_is_asked_again_at_the_next_look(tmp_path, cluster, clock):
    schedules = scheduler(tmp_path, cluster, clock)
    schedules.add(nightly())
    clock.time += timedelta(days=1)
    cluster.down = True
    [fire] = schedules.tick()
    told = (
        "2026-01-01T01:30:00+00:00 nightly-20260101t013000z is not submitted yet: nothing answers at http://fake:8265"
    )
    assert fire.summary.startswith(told)
    cluster.down = False
    [fire] = schedules.tick()
    assert fire.summary == "2026-01-01T01:30:00+00:00 nightly-20260101t013000z is submitted" and len(cluster.asked) == 1
    assert schedules.tick() == []


@pytest.mark.parametrize("overlap", Overlap)
def test_a_run_that_is_still_live_is_waited_for_cancelled_or_makes_the_next_one_refused(
    tmp_path, cluster, clock, overlap
):
    schedules = scheduler(tmp_path, cluster, clock)
    schedules.add(nightly(overlap=overlap))
    first, second = "nightly-20260101t013000z", "nightly-20260102t013000z"
    for _ in range(2):
        clock.time += timedelta(days=1)
        schedules.tick()
    submissions = Submissions(Root(str(tmp_path)), cluster, clock)
    if overlap is Overlap.QUEUE:
        assert [fire.waits for fire in schedules.tick()] == [first]
        with pytest.raises(RunError, match=f"was not submitted: run {first} is live"):  # nobody would look at it again
            schedules.run_now("nightly")
    if overlap is Overlap.REFUSE:
        assert schedules.fires("nightly")[1].refused == f"run {first} is live"
        finish(cluster)
        assert schedules.tick() == [] and [run for _, run, _ in cluster.asked] == [first]
    elif overlap is Overlap.QUEUE:
        assert [run for _, run, _ in cluster.asked] == [first]
        finish(cluster)
        assert [fire.run for fire in schedules.tick()] == [second]
    else:
        assert submissions.status(first).state is RunState.CANCELLED
        assert [run for _, run, _ in cluster.asked] == [first, second]


def meanwhile(monkeypatch, method: str, then, at: int = 1) -> None:
    """Something happens once, just when a scheduler has got its first, or another, answer of its submissions."""
    ask, answers = getattr(Submissions, method), itertools.count(1)

    def asked(*words):
        found = ask(*words)
        if next(answers) == at:
            then()
        return found

    monkeypatch.setattr(Submissions, method, asked)


def test_who_saw_the_last_run_live_does_not_refuse_what_another_has_submitted_since(
    tmp_path, cluster, clock, monkeypatch
):
    slow, fast = (scheduler(tmp_path, cluster, clock) for _ in range(2))
    fast.add(nightly())
    clock.time += timedelta(days=1)
    fast.tick()
    clock.time += timedelta(days=1)

    def overtake():
        finish(cluster)
        fast.tick()

    meanwhile(monkeypatch, "status", overtake)
    assert [fire.refused for fire in slow.tick()] == [""]
    assert [fire.refused for fire in fast.fires("nightly")] == ["", ""] and len(cluster.asked) == 2
    clock.time += timedelta(days=1)
    fast.tick()
    assert fast.fires("nightly")[2].refused == "run nightly-20260102t013000z is live" and len(cluster.asked) == 2


@pytest.mark.parametrize(("asked", "time"), [("status", 1), ("check_cluster", 1), ("check_cluster", 2)])
def test_who_is_slow_begins_no_second_attempt_at_a_run_that_has_failed_meanwhile(
    tmp_path, cluster, clock, monkeypatch, asked, time
):
    slow, fast = (scheduler(tmp_path, cluster, clock) for _ in range(2))
    fast.add(nightly())
    clock.time += timedelta(days=1)
    fast.tick()
    finish(cluster)
    clock.time += timedelta(days=1)

    def overtake():
        fast.tick()
        finish(cluster)

    meanwhile(monkeypatch, asked, overtake, time)
    slow.tick()
    assert [number for _, _, number in cluster.asked] == [1, 1] and slow.tick() == []


def test_a_slow_cancelling_scheduler_does_not_cancel_what_fired_later(tmp_path, cluster, clock):
    schedules = scheduler(tmp_path, cluster, clock)
    schedules.add(nightly(overlap=Overlap.CANCEL))
    clock.time += timedelta(days=1, hours=12)
    now = schedules.run_now("nightly").run
    [fire] = schedules.tick()
    assert fire.refused == f"run {now} is live" and [run for _, run, _ in cluster.asked] == [now]


def test_what_was_decided_while_the_cluster_was_silent_is_not_that_the_last_run_is_lost(tmp_path, cluster, clock):
    schedules = scheduler(tmp_path, cluster, clock)
    schedules.add(nightly())
    for cluster.down in (False, True, False):
        clock.time += timedelta(hours=20)
        fires = schedules.tick()
    assert [fire.refused for fire in fires] == ["run nightly-20260101t013000z is live"] and len(cluster.asked) == 1


class BusyCluster(FakeCluster):
    """Answers in its own time; knows how many jobs were ever live at once."""

    def __init__(self) -> None:
        super().__init__()
        self.lock, self.chance, self.most_live = threading.Lock(), random.Random(7), 0

    def _answer(self) -> None:
        time.sleep(self.chance.choice((0.0, 0.0005, 0.002)))

    def submit(self, *words) -> None:
        with self.lock:
            super().submit(*words)
            self.most_live = max(self.most_live, sum(state.is_live for state in self.jobs.values()))


@pytest.mark.parametrize("overlap", Overlap)
def test_many_schedulers_that_look_at_the_same_moment_fire_each_night_once(tmp_path, clock, overlap):
    cluster, chance, nights = BusyCluster(), random.Random(3), 40
    looking = [scheduler(tmp_path, cluster, clock) for _ in range(4)]
    looking[0].add(nightly(overlap=overlap))
    together = threading.Barrier(len(looking) + 1, timeout=60)

    def look(schedules: Schedules) -> None:
        for _ in range(2 * nights):
            together.wait()
            schedules.tick()
            together.wait()

    threads = [threading.Thread(target=look, args=(each,)) for each in looking]
    for thread in threads:
        thread.start()
    for _ in range(nights):
        clock.time += timedelta(days=1)
        for _ in range(2):
            together.wait()
            if chance.random() < 0.6:  # the last run fails just while they look
                finish(cluster)
            together.wait()
    for thread in threads:
        thread.join()
    runs = [run for _, run, _ in cluster.asked]
    fires = {fire.run: fire for fire in looking[0].fires("nightly")}
    assert len(runs) == len(set(runs)) and {number for _, _, number in cluster.asked} == {1}
    assert set(runs) == {run for run, fire in fires.items() if fire.submitted}
    assert not [fire for fire in fires.values() if fire.submitted and fire.refused] and cluster.most_live == 1
    assert len(fires) == nights if overlap is not Overlap.QUEUE else 20 < len(fires) < nights
    assert (len(runs) < nights) == (overlap is not Overlap.CANCEL)


@pytest.mark.parametrize("refused", [False, True])
def test_a_look_reads_a_few_files_however_often_a_schedule_has_fired(tmp_path, cluster, clock, monkeypatch, refused):
    schedules, root = scheduler(tmp_path, cluster, clock), Root(str(tmp_path))
    schedules.add(nightly())
    for day in range(400):
        at, live = START + timedelta(days=day, hours=1.5), "nightly-20260101t013000z"
        told = {"refused": f"run {live} is live", "behind": live} if refused and day else {"submitted": True}
        fire = {"at": at.isoformat(), "run": f"nightly-{at:%Y%m%dt%H%M%Sz}"} | told
        root.put(f"schedules/nightly/fires/{at:%Y%m%dt%H%M%Sz}.json", json.dumps(fire).encode())
    reads, read = [], Root.read
    monkeypatch.setattr(Root, "read", lambda root, rel: reads.append(rel) or read(root, rel))
    clock.time = START + timedelta(days=400, hours=12)
    assert len(schedules.tick()) == 1 and len(reads) < 20
    reads.clear()
    assert schedules.tick() == [] and len(reads) <= 4
    reads.clear()
    assert len(schedules.last_fires()) == 1 and len(reads) <= 3


def test_a_fire_whose_run_was_removed_is_not_fired_again(tmp_path, cluster, clock):
    schedules = scheduler(tmp_path, cluster, clock)
    schedules.add(nightly())
    clock.time += timedelta(days=1)
    assert len(schedules.tick()) == 1
    shutil.rmtree(tmp_path / "runs")
    assert schedules.tick() == [] and len(cluster.asked) == 1


def test_a_paused_schedule_does_not_fire_nor_makes_up_for_it(tmp_path, cluster, clock):
    schedules = scheduler(tmp_path, cluster, clock)
    schedules.add(nightly())
    schedules.pause("nightly", paused=True)
    clock.time += timedelta(days=3)
    assert schedules.tick() == []
    schedules.pause("nightly", paused=False)
    assert schedules.tick() == []
    clock.time += timedelta(days=1)
    assert len(schedules.tick()) == 1


def test_a_schedule_that_is_removed_while_it_is_paused_stays_removed(tmp_path, cluster, clock, monkeypatch):
    schedules, other = (scheduler(tmp_path, cluster, clock) for _ in range(2))
    schedules.add(nightly())
    find = Schedules.find

    def found_and_removed(self, name):
        found = find(self, name)
        other.remove(name)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(Schedules, "find", found_and_removed)
        schedules.pause("nightly", paused=True)
    assert schedules.all() == []
    clock.time += timedelta(seconds=1)
    schedules.add(nightly())
    assert not schedules.find("nightly").paused  # another one was


def test_a_schedule_inherits_nothing_from_one_that_had_its_name(tmp_path, cluster, clock):
    schedules, root = scheduler(tmp_path, cluster, clock), Root(str(tmp_path))
    schedules.add(nightly(keep=1))
    for _ in range(2):
        clock.time += timedelta(days=1)
        publish(root, schedules.tick()[0].run)
    clock.time += timedelta(hours=12)
    live = schedules.run_now("nightly").run
    schedules.pause("nightly", paused=True)
    schedules.remove("nightly")
    clock.time += timedelta(hours=1)
    schedules.add(nightly(keep=1))
    assert not schedules.find("nightly").paused and schedules.fires("nightly") == [] == schedules.tick()
    assert not schedules.last_fires() and not schedules.runs(schedules.find("nightly"))
    clock.time += timedelta(days=1)
    [fire] = schedules.tick()
    assert fire.submitted and schedules.fires("nightly") == [fire] and cluster.jobs[f"{live}.1"].is_live
    found = Housekeeping(root, schedules, clock(), timedelta(0)).plan()
    assert not [removal for removal in found if removal.run]


def test_a_schedule_can_be_fired_now_and_forgotten(tmp_path, cluster, clock):
    schedules = scheduler(tmp_path, cluster, clock)
    schedules.add(nightly())
    assert schedules.run_now("nightly").run == "nightly-20260101t000000z"
    schedules.remove("nightly")
    assert schedules.all() == []
    with pytest.raises(UsageError, match="there is no schedule 'nightly'"):
        schedules.find("nightly")


def test_a_fire_of_a_run_that_is_published_is_settled(tmp_path, cluster, clock):
    schedules = scheduler(tmp_path, cluster, clock)
    schedules.add(nightly())
    clock.time += timedelta(days=1)
    publish(Root(str(tmp_path)), "nightly-20260101t013000z")
    schedules.tick()
    assert not cluster.asked


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"name": "No"}, "is not a valid schedule name"),
        ({"cron": "61 2 * * *"}, "is not a valid cron expression"),
        ({"cron": "@daily please"}, "is not a valid cron expression"),
        ({"tz": "Mars/Base"}, "there is no time zone 'Mars/Base'"),
        ({"tz": "../../etc/passwd"}, "there is no time zone"),
    ],
)
def test_a_wrong_schedule_is_refused_and_not_kept(tmp_path, cluster, clock, more, told):
    schedules = scheduler(tmp_path, cluster, clock)
    with pytest.raises(UsageError, match=told):
        schedules.add(nightly(**more))
    with pytest.raises(SpecError):
        schedules.add(nightly(spec=PlainSpec(SPEC | {"colour": "red"})))
    assert schedules.all() == []
    schedules.add(nightly())
    with pytest.raises(UsageError, match="schedule 'nightly' already exists"):
        schedules.add(nightly())


def test_a_fire_now_whose_cluster_is_down_is_an_error_and_written_down_as_refused(tmp_path, cluster, clock):
    schedules = scheduler(tmp_path, cluster, clock)
    schedules.add(nightly())
    cluster.down = True
    with pytest.raises(ClusterError, match="nothing answers"):
        schedules.run_now("nightly")
    [fire] = schedules.fires("nightly")
    assert fire.refused.startswith("nothing answers") and not cluster.asked
    cluster.down = False
    clock.time += timedelta(seconds=1)
    assert schedules.run_now("nightly").run == "nightly-20260101t000001z" and len(cluster.asked) == 1


def test_a_run_that_ends_while_it_is_to_be_cancelled_makes_room_too(tmp_path, cluster, clock, monkeypatch):
    schedules = scheduler(tmp_path, cluster, clock)
    schedules.add(nightly(overlap=Overlap.CANCEL))
    clock.time += timedelta(days=1)
    schedules.tick()
    clock.time += timedelta(days=1)

    def ended(_, run):
        finish(cluster)
        raise RunError(f"run {run!r} is failed: there is nothing to cancel")

    monkeypatch.setattr(Submissions, "cancel", ended)
    assert [fire.refused for fire in schedules.tick()] == [""] and len(cluster.asked) == 2


def test_a_schedule_that_cannot_be_understood_is_told_and_hinders_no_other(tmp_path, cluster, clock):
    schedules = scheduler(tmp_path, cluster, clock)
    schedules.add(nightly())
    for name, text in (("broken", b"{"), ("odd", b'{"name": "odd"}')):
        Root(str(tmp_path)).put(f"schedules/{name}/schedule.json", text)
    clock.time += timedelta(days=1)
    told = [fire.summary for fire in schedules.tick()]
    assert "schedule 'broken' is not valid" in told[0] and "schedule 'odd'" in told[2]
    assert [run for _, run, _ in cluster.asked] == ["nightly-20260101t013000z"]
    assert [each.name for each in schedules.all()] == ["nightly"] == [*schedules.last_fires()]
    listed = CliRunner().invoke(app, ["schedule", "list", "--root", str(tmp_path), "--json"])
    assert [each["name"] for each in json.loads(listed.stdout)] == ["nightly"] and "'broken'" in listed.stderr
    schedules.remove("broken")
    assert len(schedules.tick()) == 1


@pytest.mark.parametrize(
    ("path", "text", "told"),
    [
        ("schedules/early/fires/20260101t013000z.json", "{", "schedules/early/fires/20260101t013000z.json cannot be"),
        ("schedules/early/fires/20260101t013000z.json", '{"at": "noon", "run": "early"}', "remove it"),
        (
            "schedules/early/schedule.json",
            None,
            "schedule 'early' is not valid: there is no time zone 'Mars/Base'",
        ),
        ("runs/early-20260101t013000z/attempts/1-ended.json", "{", "run 'early-20260101t013000z': runs/"),
        ("runs/early-20260101t013000z/attempts/1-ended.json", '{"at": "x", "exit_code": 1}', "cannot be parsed"),
    ],
)
def test_whatever_is_damaged_of_a_schedule_is_told_and_hinders_no_other(tmp_path, cluster, clock, path, text, told):
    root, schedules = Root(str(tmp_path)), scheduler(tmp_path, cluster, clock)
    for name in ("early", "late"):
        schedules.add(nightly(name=name))
    clock.time += timedelta(days=1)
    if path.startswith("runs/"):
        Attempts(root, "early-20260101t013000z").take(
            1, Begun(clock().isoformat(), "http://fake:8265", Kind.SCAN, PlainSpec({}))
        )
    text = text or root.read(path).decode().replace("Europe/Berlin", "Mars/Base")
    root.put(path, text.encode())
    damaged, fired = schedules.tick()
    assert told in damaged.error and fired.summary == "2026-01-01T01:30:00+00:00 late-20260101t013000z is submitted"
    assert [run for _, run, _ in cluster.asked] == ["late-20260101t013000z"]
    assert scheduler(tmp_path, cluster, clock).tick() == [damaged]  # so that it is told once
    assert set(schedules.last_fires()) >= {"late"}


@pytest.mark.parametrize("word", ['"colour": "red"', '"root": 5', '"scan": {"layers": 5}'])
def test_a_spec_of_another_version_refuses_its_own_fires_and_is_listed_as_it_is(tmp_path, cluster, clock, word):
    root, schedules = Root(str(tmp_path)), scheduler(tmp_path, cluster, clock)
    for name in ("early", "late"):
        schedules.add(nightly(name=name))
    text = root.read("schedules/early/schedule.json").decode().replace('"spec": {', f'"spec": {{{word},')
    root.put("schedules/early/schedule.json", text.encode())
    clock.time += timedelta(days=1)
    assert [schedule.name for schedule in schedules.all()] == ["early", "late"]
    assert schedules.find("early").spec.values == json.loads(text)["spec"] != SPEC
    listed = CliRunner().invoke(app, ["schedule", "list", "--root", str(tmp_path), "--json"])
    assert json.loads(listed.stdout)[0] == {
        **json.loads(text),
        "next": f"{schedules.find('early').next_fire(datetime.now(UTC)):%Y-%m-%d %H:%M}",
        "last": "",
        "state": "",
        "refused": "",
    }
    fires = schedules.tick()
    assert [run for _, run, _ in cluster.asked][-1] == "late-20260101t013000z" and len(fires) == 2
    assert bool(fires[0].refused) is ("root" not in word) and not fires[0].error  # a run has the service's own root


def test_a_kind_of_job_of_another_version_hinders_no_other(tmp_path, cluster, clock):
    root, schedules = Root(str(tmp_path)), scheduler(tmp_path, cluster, clock)
    for name in ("early", "late"):
        schedules.add(nightly(name=name))
    text = root.read("schedules/early/schedule.json").replace(b'"scan"', b'"dream"')
    root.put("schedules/early/schedule.json", text)
    clock.time += timedelta(days=1)
    damaged, fired = schedules.tick()
    assert "schedule 'early' is not valid: job: " in damaged.error and "late-" in fired.run
    assert [schedule.name for schedule in schedules.all()] == ["late"]


def test_a_file_that_is_not_ours_to_read_hinders_its_own_schedule_alone(tmp_path, cluster, clock, monkeypatch):
    schedules = scheduler(tmp_path, cluster, clock)
    for name in ("early", "late"):
        schedules.add(nightly(name=name))
    clock.time += timedelta(days=1)
    read = Root.read

    def refused(root, rel):
        if rel == "schedules/early/schedule.json":
            raise PermissionError(13, "Permission denied", rel)
        return read(root, rel)

    monkeypatch.setattr(Root, "read", refused)
    damaged, fired = schedules.tick()
    assert "Permission denied: 'schedules/early/schedule.json'" in damaged.error
    assert fired.run == "late-20260101t013000z"


def test_a_store_that_fails_ends_a_single_look_and_not_those_that_go_on(tmp_path, monkeypatch):
    looks = []

    def look(*_):
        looks.append(True)
        if len(looks) > 2:
            raise KeyboardInterrupt
        raise OSError("the store is away")

    monkeypatch.setattr(serve, "submit_due", look)
    monkeypatch.setattr(schedule, "EVERY_S", 0.0)
    words = ["schedule", "run", "--root", str(tmp_path), "--address", "http://127.0.0.1:1"]
    assert CliRunner().invoke(app, words).exit_code == 130 and len(looks) == 3
    looks.clear()
    assert CliRunner().invoke(app, [*words, "--once"]).exit_code == 1 and len(looks) == 1


def test_the_commands_of_schedules_tell_when_nothing_was_submitted(tmp_path):
    (tmp_path / "run.toml").write_text(
        f'root = "{tmp_path}/atlas"\n[model]\nsource = "deconvoy://zfnet-mini"\n[corpus]\nsource = "{tmp_path}"\n'
    )
    there = ["--address", "http://127.0.0.1:1"]

    def ask(*words: str):
        return CliRunner().invoke(app, ["schedule", *words])

    wrong = ask("add", "often", str(tmp_path / "run.toml"), "--cron", "0 0 * * *", "--job", "scna", *there)
    assert wrong.exit_code == 2 and "there is no kind of job 'scna'; nearest: scan" in wrong.stderr
    made = ask("add", "often", str(tmp_path / "run.toml"), "--cron", "0 0 * * *", *there)
    assert made.exit_code == 0, made.stderr
    now = ask("run-now", "often", "--root", f"{tmp_path}/atlas", *there)
    assert (now.exit_code, now.stdout) == (1, "") and "was not submitted" in now.stderr
    path = tmp_path / "atlas" / "schedules" / "often" / "schedule.json"
    path.write_text(path.read_text().replace(json.loads(path.read_text())["since"], "2026-01-01T00:00:00+00:00"))
    once = ask("run", "--once", "--root", f"{tmp_path}/atlas", *there)
    assert (once.exit_code, once.stdout) == (1, "") and "is not submitted yet: nothing answers" in once.stderr
