"""Runs that share a cluster of two CPUs: any number of them, in the order of submission, and none holds up another for ever."""

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from jobs.__main__ import main
from jobs.ray import cluster, line
from jobs.ray.line import PlaceRequest
from jobs.scan import scan
from service.control.clusters import RayCluster
from service.control.schedules import Schedules
from service.control.submissions import Submissions
from service.control.timetable import Overlap, Schedule
from tests.support import corpora
from tests.support.clusters import Clock
from tests.support.heads import Head, environment
from tests.support.heard import Heard
from tests.support.slow_start import SlowStart
from workers.errors import NoPlace, UsageError
from workers.kinds import Kind
from workers.spec.parts import ResourcesSpec
from workers.spec.plain import PlainSpec
from workers.spec.scan import make_spec
from workers.store.attempts import Attempts, Begun
from workers.store.root import Root

pytestmark = pytest.mark.ray
MIB = 1 << 20
CPU = {"CPU": 1.0}
ONE = ResourcesSpec(device="cpu")


@contextmanager
def taken(cpus: int, name: str = "") -> Iterator[PlacementGroup]:
    """CPUs of the cluster that something else holds."""
    group = placement_group([CPU] * cpus, name=name)
    assert group.wait(30)
    try:
        yield group
    finally:
        remove_placement_group(group)


def wanted(run: str, submitted: str, limit_s: float = 60) -> PlaceRequest:
    return PlaceRequest(run, submitted, "cpu", CPU, "a CPU", limit_s)


def nothing() -> None:
    """A check that never raises."""


@pytest.mark.usefixtures("two_cpus")
def test_places_are_had_in_the_order_of_submission_whoever_asks_first(monkeypatch):
    monkeypatch.setattr(line, "LOOK_S", 0.1)
    had: list[str] = []

    def run(name: str) -> None:
        with line.place(wanted(name, name), lambda _: None, nothing):
            had.append(name)
            time.sleep(0.7)

    names = [f"run{number}" for number in range(6)]
    threads = [threading.Thread(target=run, args=(name,)) for name in names]
    with taken(2):
        for thread in reversed(threads):  # the last that was submitted is the first to ask
            thread.start()
            time.sleep(0.2)
    for thread in threads:
        thread.join()
    assert had == names


@pytest.mark.usefixtures("two_cpus")
def test_a_run_says_who_holds_the_cluster_and_ends_resumable_at_the_limit(tmp_path, monkeypatch, capsys):
    attempts, lines = Attempts(Root(str(tmp_path)), "flowers"), []
    spec = {"run": "flowers", "root": str(tmp_path), "model": {"source": "deconvoy://zfnet-mini"}}
    spec |= {"corpus": {"source": str(tmp_path)}, "resources": {"device": "cpu"}}
    attempts.take(1, Begun("2026-11-26T00:00:00+00:00", "http://head:8265", Kind.SCAN, PlainSpec(spec)))
    report = attempts.report_progress
    monkeypatch.setattr(
        Attempts, "report_progress", lambda _, number, progress: (lines.append(progress), report(number, progress))
    )
    monkeypatch.setenv("DECONVOY_WAIT_FOR_PLACE_S", "1")
    names = [f"deconvoy place cpu 2026/{number} {run}" for number, run in enumerate(("roses", "tulips"))]
    with taken(1, names[0]), taken(1, names[1]):
        assert main(["submitted", str(tmp_path), "flowers", "1"]) == 1
    ended = attempts.ended(1)
    assert (ended.exit_code, ended.error) == (
        1,
        "the cluster had no room for this run within 1 s (it waited for a CPU); start the run again to resume it",
    )
    assert {(each.phase, each.line) for each in lines} == {
        ("waiting", "waiting for a CPU: runs roses and tulips are using the cluster")
    }
    assert "Traceback" not in capsys.readouterr().err
    assert not line.has_waiting_runs("cpu") and cluster.place() is None


@pytest.mark.usefixtures("two_cpus")
def test_a_run_that_the_cluster_could_never_hold_is_refused_before_it_waits():
    from jobs.ray.turn import turn

    for resources in (ResourcesSpec(device="cpu", actors=3), ResourcesSpec(device="cpu", threads=4)):
        with taken(2), pytest.raises(UsageError, match="the cluster has room for"), turn(resources, "a", "2026", print):
            pytest.fail("it has a place")


@pytest.mark.usefixtures("two_cpus")
def test_room_is_what_the_run_has_and_what_is_free_and_nobody_waits_for(monkeypatch):
    def room() -> int:
        time.sleep(1.5)  # nodes report what is free about once a second
        return cluster.available_actors(ONE, "cpu")

    assert room() == cluster.capacity("cpu", 1) == 2
    with taken(1):
        assert room() == 1 and cluster.initial_actors(ONE, "cpu") == 1
        monkeypatch.setenv("DECONVOY_WAIT_FOR_PLACE_S", "60")
        with line.place(wanted("a", "2026"), lambda _: None, nothing):
            assert room() == 1 and cluster.place() is not None
    ticket = placement_group([line.TICKET], name="deconvoy ticket cpu 2026/1 b")
    assert room() == 0 and cluster.initial_actors(ResourcesSpec(device="cpu", actors=2), "cpu") == 1
    remove_placement_group(ticket)


@pytest.mark.usefixtures("two_cpus")
def test_an_actor_that_starts_is_the_runs_own_and_one_that_waits_for_room_is_not():
    actors = [ray.remote(num_cpus=1)(SlowStart).remote(10) for _ in range(3)]  # there is room for two
    started = [actor.started.remote() for actor in actors]
    until = time.monotonic() + 30
    while cluster._own_actors() < 2:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert ray.wait(started, num_returns=1, timeout=0)[0] == []
    ray.wait(started, num_returns=2, timeout=60)
    time.sleep(1.5)  # nodes report what is free about once a second
    assert cluster.available_actors(ONE, "cpu") == 2
    for actor in actors:
        ray.kill(actor)


@pytest.mark.usefixtures("two_cpus")
def test_nothing_of_a_run_that_gave_up_stays_in_line():
    with taken(2):
        with pytest.raises(NoPlace), line.place(wanted("a", "1", limit_s=0), lambda _: None, nothing):
            pytest.fail("it has a place")
        with pytest.raises(KeyboardInterrupt), line.place(wanted("b", "2"), interrupt, nothing):
            pytest.fail("it has a place")
    assert not line.has_waiting_runs("cpu")
    with taken(2):
        pass


def interrupt(_: str) -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    corpora.photos(folder, range(12))
    return folder


@pytest.mark.usefixtures("two_cpus")
def test_a_run_that_is_started_on_a_cluster_joins_its_line_behind_those_that_wait(photos, tmp_path, monkeypatch):
    spec, watch = make_spec({**spec_of(photos, "direct"), "root": str(tmp_path)}), Heard()
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setenv("DECONVOY_WAIT_FOR_PLACE_S", "1")
    ticket = placement_group([line.TICKET], name="deconvoy ticket cpu 2026-01-01/1 earlier")
    assert ticket.wait(30)
    with pytest.raises(NoPlace, match="start the run again to resume it"):
        scan(spec, watch)
    assert any("1 earlier run is waiting" in said for said in watch.said)
    remove_placement_group(ticket)
    places: list[object] = []
    monkeypatch.setattr(Heard, "advance", lambda *_: places.append(cluster.place()))
    assert scan(spec, watch).images == 12 and places[-1] is not None
    assert cluster.place() is None


@pytest.mark.usefixtures("two_cpus")
def test_a_run_on_a_ray_of_its_own_waits_in_no_line(photos, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(line, "place", lambda *_: pytest.fail("it waits in line"))
    assert scan(make_spec({**spec_of(photos, "direct"), "root": str(tmp_path)}), Heard()).images == 12


@pytest.fixture
def head(monkeypatch) -> Iterator[Head]:
    ray.shutdown()
    for name, value in environment().items():
        if name.startswith("RAY_") or name == "PATH":
            monkeypatch.setenv(name, value)
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        found = Head(Path(folder), cpus=2)
        yield found
        found.kill()


def spec_of(photos: Path, run: str) -> dict[str, object]:
    return {
        "run": run, "model": {"source": "deconvoy://zfnet-mini"}, "corpus": {"source": str(photos)},
        "scan": {"layers": ["relu2"], "batch": 4, "shard": 4}, "resources": {"device": "cpu"},
    }  # fmt: skip


def follow(submissions: Submissions, runs: list[str], patience_s: float) -> dict[str, list[tuple[str, str]]]:
    """Every state of the runs and what they wait for, until all have ended."""
    seen: dict[str, list[tuple[str, str]]] = {run: [] for run in runs}
    until = time.monotonic() + patience_s
    while any(not states or states[-1][0] in ("pending", "running") for states in seen.values()):
        assert time.monotonic() < until, {run: states[-1:] for run, states in seen.items()}
        for run, states in seen.items():
            found = submissions.status(run)
            if states[-1:] != [(str(found.state), found.waits)]:
                states.append((str(found.state), found.waits))
        time.sleep(0.5)
    return seen


def drivers_of(run: str) -> list[psutil.Process]:
    """The process that runs a submitted run, if there is one."""
    return [process for process in psutil.process_iter() if _words(process)[4:7:2] == ["submitted", run]]


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


@pytest.mark.timeout(400)
def test_more_runs_than_cpus_publish_and_one_that_waits_is_small_and_can_be_cancelled(head, photos, tmp_path):
    submissions = Submissions(Root(str(tmp_path / "atlas")), RayCluster(head.address))
    runs = [f"run{number}" for number in range(3)]
    for run in [*runs, "unwanted"]:
        submissions.submit("scan", spec_of(photos, run))
    filters = {"run": "filters", "models": [{"source": "deconvoy://zfnet-mini"}]}
    submissions.submit("filters", filters)  # it needs no actor: it waits for nobody
    until = time.monotonic() + 90
    while "using the cluster" not in (waits := submissions.status("unwanted").waits):
        assert time.monotonic() < until
        time.sleep(0.2)
    assert waits.startswith("waiting for a CPU: run")
    [driver] = drivers_of("unwanted")
    assert driver.memory_info().rss < 200 * MIB
    submissions.cancel("unwanted")
    assert psutil.wait_procs([driver], 30)[1] == []
    seen = follow(submissions, [*runs, "filters"], 300)
    assert {states[-1][0] for states in seen.values()} == {"published"}
    assert submissions.status("unwanted").state == "cancelled"


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_twenty_runs_that_are_submitted_at_once_on_two_cpus_all_publish(head, photos, tmp_path):
    submissions = Submissions(Root(str(tmp_path / "atlas")), RayCluster(head.address))
    runs = [f"run{number:02d}" for number in range(20)]
    for run in runs:
        submissions.submit("scan", spec_of(photos, run))
    seen = follow(submissions, runs, 1400)
    assert {states[-1][0] for states in seen.values()} == {"published"}
    assert sum(any("earlier run" in waits for _, waits in states) for states in seen.values()) >= 10


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_schedules_that_share_a_time_all_publish(head, photos, tmp_path):
    clock = Clock(datetime(2026, 11, 26, 1, 59, tzinfo=UTC))
    submissions = Submissions(Root(str(tmp_path / "atlas")), RayCluster(head.address), clock)
    schedules = Schedules(submissions.root, submissions)
    for number in range(4):
        values = {key: value for key, value in spec_of(photos, "none").items() if key != "run"}
        schedules.add(Schedule(f"nightly{number}", "0 2 * * *", "UTC", Kind.SCAN, PlainSpec(values), Overlap.REFUSE))
    clock.time = datetime(2026, 11, 26, 2, 0, 30, tzinfo=UTC)
    fires = schedules.tick()
    assert len(fires) == 4 and not any(fire.error for fire in fires)
    clock.time = datetime.now(UTC)
    seen = follow(submissions, [fire.run for fire in fires], 800)
    assert {states[-1][0] for states in seen.values()} == {"published"}
