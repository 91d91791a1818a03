"""Submitted runs: one live attempt, every state told by files of the root and by Ray, resumed by submitting again."""

import json
from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread

import pytest
from typer.testing import CliRunner

from service.cli import submit
from service.cli.main import app
from service.control.clusters import Nowhere, State
from service.control.statuses import RunState, Statuses
from service.control.submissions import Submissions
from tests.support.clusters import SPEC as NAMELESS
from tests.support.clusters import Clock
from tests.support.published import publish
from workers.errors import ClusterError, DamagedRun, RunError, SpecError
from workers.spec.scan import make_spec
from workers.store import paths
from workers.store.attempts import WAITING, Attempts, Ended, Progress
from workers.store.root import Root

START = datetime(2026, 11, 26, 2, tzinfo=UTC)
SPEC = {"run": "flowers", **NAMELESS}


@pytest.fixture
def clock() -> Clock:
    return Clock(START)


@pytest.fixture
def submissions(tmp_path, cluster, clock) -> Submissions:
    return Submissions(Root(str(tmp_path)), cluster, clock)


def test_a_run_is_written_down_and_given_to_the_cluster_by_its_id_and_attempt(submissions, cluster):
    found = submissions.submit("scan", SPEC)
    assert (found.run, found.state, found.attempt, found.job) == ("flowers", RunState.RUNNING, 1, "scan")
    assert cluster.asked == [(submissions.root.url, "flowers", 1)] and list(cluster.jobs) == ["flowers.1"]
    begun = Attempts(submissions.root, "flowers").begun(1)
    assert begun.spec.values["root"] == submissions.root.url and begun.spec.values["scan"]["k"] == 9
    assert begun.cluster == cluster.name


def test_the_same_run_again_is_the_same_attempt_while_it_is_live_and_the_next_one_after(submissions, cluster):
    submissions.submit("scan", SPEC)
    assert submissions.submit("scan", SPEC).attempt == 1 and len(cluster.asked) == 1
    cluster.jobs["flowers.1"] = State.FAILED
    assert submissions.status("flowers").state is RunState.FAILED
    assert submissions.submit("scan", SPEC).attempt == 2
    assert list(cluster.jobs) == ["flowers.1", "flowers.2"]


DIFFERENT = r"run 'flowers' is running with a different spec \(scan.k was 9 and is now 4\); choose another run id"


def test_a_live_run_with_another_spec_is_in_the_way(submissions):
    submissions.submit("scan", SPEC)
    with pytest.raises(RunError, match=DIFFERENT):
        submissions.submit("scan", SPEC | {"scan": {"k": 4}})


def test_any_number_of_submitters_at_once_make_one_attempt(tmp_path, cluster):
    many, found, together = 8, [], Barrier(8)

    def submit() -> None:
        mine = Submissions(Root(str(tmp_path)), cluster)
        together.wait()
        found.append(mine.submit("scan", SPEC))

    threads = [Thread(target=submit) for _ in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == many and {each.attempt for each in found} == {1} and len(cluster.asked) == 1


def test_a_published_run_is_told_and_not_run_again(submissions, cluster):
    submissions.submit("scan", SPEC)
    publish(submissions.root, "flowers")
    assert submissions.submit("scan", SPEC).state is RunState.PUBLISHED and len(cluster.asked) == 1
    with pytest.raises(RunError, match="run 'flowers' is published with a different spec"):
        submissions.submit("scan", SPEC | {"scan": {"k": 4}})


def test_a_run_that_was_published_without_being_submitted_is_for_its_job_to_judge(submissions, cluster):
    publish(submissions.root, "flowers")
    assert submissions.submit("scan", SPEC).attempt == 1 and len(cluster.asked) == 1
    told = "run 'flowers' was already published with a different spec; choose another --run"
    Attempts(submissions.root, "flowers").end(1, Ended(START.isoformat(), 2, told))
    found = submissions.status("flowers")
    assert (found.state, found.error) == (RunState.PUBLISHED, told)


def test_how_an_attempt_says_that_it_ended_is_how_the_run_is(submissions):
    submissions.submit("scan", SPEC)
    attempts = Attempts(submissions.root, "flowers")
    assert attempts.end(1, Ended(START.isoformat(), 2, "no layer 'relu9' in the model"))
    assert not attempts.end(1, Ended(START.isoformat(), 0))  # what was said first stands
    found = submissions.status("flowers")
    assert (found.state, found.error) == (RunState.FAILED, "no layer 'relu9' in the model")


def test_an_attempt_that_the_cluster_does_not_know_is_waited_for_and_then_lost(submissions, cluster, clock):
    submissions.submit("scan", SPEC)
    cluster.jobs.clear()  # its head node has died
    assert submissions.status("flowers").state is RunState.PENDING
    clock.time += timedelta(minutes=2)
    assert submissions.status("flowers").state is RunState.LOST
    cluster.down = True
    assert submissions.status("flowers").state is RunState.PENDING  # who asks now cannot know that it is not queued
    Attempts(submissions.root, "flowers").report_progress(1, Progress(at=clock.time.isoformat(), phase="scan", done=5))
    assert submissions.status("flowers").state is RunState.RUNNING  # it has just said so itself
    clock.time += timedelta(minutes=2)
    cluster.down = False
    assert submissions.submit("scan", SPEC).attempt == 2


def test_a_job_that_is_queued_for_hours_is_pending_and_not_lost(submissions, cluster, clock):
    submissions.submit("scan", SPEC)
    cluster.jobs["flowers.1"] = State.PENDING
    clock.time += timedelta(hours=5)
    assert submissions.status("flowers").state is RunState.PENDING
    cluster.jobs["flowers.1"] = State.RUNNING
    line = "waiting for a GPU: runs a and b are using the cluster"
    Attempts(submissions.root, "flowers").report_progress(1, Progress(clock.time.isoformat(), WAITING, line=line))
    for cluster.down in (False, True):  # what it waits for is known without its cluster, too
        found = submissions.status("flowers")
        assert (found.state, found.waits, found.error) == (RunState.PENDING, line, "")


def test_an_attempt_that_has_not_started_is_lost_only_for_the_cluster_that_took_it_or_after_an_hour(
    submissions, cluster, clock
):
    submissions.submit("scan", SPEC)
    cluster.down = True
    clock.time += timedelta(minutes=50)
    found = submissions.status("flowers")
    assert found.state is RunState.PENDING and "its place in the queue is not known: nothing answers" in found.waits
    looked = Statuses(submissions.root, Nowhere(), clock).status("flowers")
    assert looked.state is RunState.PENDING and "there is no cluster" in looked.waits
    cluster.down = False
    cluster.jobs.clear()  # the cluster that took it answers, and does not know it
    assert submissions.status("flowers").state is RunState.LOST
    clock.time += timedelta(minutes=20)
    assert Statuses(submissions.root, Nowhere(), clock).status("flowers").state is RunState.LOST


def test_a_cluster_that_does_not_answer_costs_no_attempt_and_one_that_refuses_a_failed_one(submissions, cluster):
    cluster.down = True
    with pytest.raises(ClusterError, match="nothing answers"):
        submissions.submit("scan", SPEC)
    cluster.down = False
    cluster.jobs["flowers.1"] = State.STOPPED  # of another root: Ray takes no id twice
    with pytest.raises(ClusterError, match=r"flowers\.1 was used before"):
        submissions.submit("scan", SPEC)
    assert submissions.status("flowers").state is RunState.FAILED
    assert submissions.submit("scan", SPEC).attempt == 2


def test_a_job_that_ends_while_it_is_looked_at_is_told_as_it_ended(submissions, cluster, monkeypatch):
    submissions.submit("scan", SPEC)
    attempts, state = Attempts(submissions.root, "flowers"), cluster.state

    def ends_meanwhile(submission_id: str, **_: object):
        publish(submissions.root, "flowers")
        attempts.end(1, Ended(START.isoformat(), 0))
        cluster.jobs[submission_id] = State.SUCCEEDED
        return state(submission_id)

    monkeypatch.setattr(cluster, "state", ends_meanwhile)
    assert submissions.status("flowers").state is RunState.PUBLISHED


def test_a_job_that_publishes_between_two_files_that_are_read_is_published(submissions, monkeypatch):
    submissions.submit("scan", SPEC)
    ended = Attempts.ended

    def publishes_then(self, number):
        before = ended(self, number)
        publish(submissions.root, "flowers")
        self.end(number, Ended(START.isoformat(), 0))
        return before

    monkeypatch.setattr(Attempts, "ended", publishes_then)
    assert submissions.status("flowers").state is RunState.PUBLISHED


def test_a_damaged_run_does_not_hide_the_others(submissions):
    for run in ("one", "two"):
        submissions.submit("scan", SPEC | {"run": run})
    submissions.root.put(paths.attempt_path("one", 1, "progress"), b"{")
    found = {each.run: each for each in submissions.statuses()}
    assert (found["one"].state, found["two"].state) == (RunState.DAMAGED, RunState.RUNNING)
    assert "1-progress.json cannot be parsed" in found["one"].error
    with pytest.raises(DamagedRun, match=r"1-progress\.json cannot be parsed"):
        submissions.status("one")


def test_progress_of_a_newer_version_is_read_as_far_as_it_is_known(submissions):
    submissions.submit("scan", SPEC)
    told = {"at": START.isoformat(), "phase": "scan", "done": 5, "mood": "good"}
    submissions.root.put(paths.attempt_path("flowers", 1, "progress"), json.dumps(told).encode())
    assert submissions.status("flowers").progress == Progress(at=START.isoformat(), phase="scan", done=5)


def test_a_run_whose_spec_another_version_wrote_has_a_status_and_is_another_one(submissions):
    submissions.submit("scan", SPEC)
    path = paths.attempt_path("flowers", 1, "begun")
    begun = json.loads(submissions.root.read(path))
    begun["spec"]["colour"] = "red"
    submissions.root.put(path, json.dumps(begun).encode())
    assert submissions.status("flowers").state is RunState.RUNNING
    with pytest.raises(RunError, match="run 'flowers' is running with a different spec"):
        submissions.submit("scan", SPEC)


def test_what_is_started_is_stored_with_its_defaults_its_root_and_its_run_id(submissions):
    spec = submissions.parse_spec("scan", {**NAMELESS, "root": "/elsewhere"})
    assert submissions.start(spec).run == spec.run
    stored = json.loads(submissions.root.read(paths.attempt_path(spec.run, 1, "begun")))["spec"]
    assert stored == {**make_spec({**NAMELESS, "root": submissions.root.url}).model_dump(mode="json"), "run": spec.run}


def test_cancelling_stops_the_job_and_says_so(submissions, cluster):
    submissions.submit("scan", SPEC)
    assert submissions.cancel("flowers").state is RunState.CANCELLED
    assert cluster.jobs["flowers.1"] is State.STOPPED
    with pytest.raises(RunError, match="run 'flowers' is cancelled: there is nothing to cancel"):
        submissions.cancel("flowers")
    assert submissions.submit("scan", SPEC).attempt == 2


def test_a_run_without_an_id_gets_one_of_its_job_model_corpus_and_time(submissions):
    assert submissions.submit("scan", NAMELESS).run == "scan-zfnet-mini-photos-20261126t020000000000z"


def test_wrong_specs_and_unknown_runs_are_refused_before_anything_is_written(submissions, tmp_path):
    with pytest.raises(SpecError, match="there is no kind of job 'scna'; nearest: scan"):
        submissions.submit("scna", SPEC)
    with pytest.raises(SpecError, match=r"scan\.k: 0 is not valid"):
        submissions.submit("scan", SPEC | {"scan": {"k": 0}})
    with pytest.raises(RunError, match="is not a valid run id"):
        submissions.submit("scan", SPEC | {"run": "../up"})
    with pytest.raises(RunError, match="run 'tulips' was never submitted"):
        submissions.status("tulips")
    assert not list(tmp_path.iterdir())


def test_all_runs_are_told_the_last_submitted_first(submissions, clock):
    publish(submissions.root, "local")
    for run in ("one", "two"):
        submissions.submit("scan", SPEC | {"run": run})
        clock.time += timedelta(seconds=5)
    assert [(each.run, each.state) for each in submissions.statuses()] == [
        ("two", "running"), ("one", "running"), ("local", "published"),
    ]  # fmt: skip
    assert submissions.logs("one") == "log of one.1\n" and submissions.logs("local") == ""
    with pytest.raises(RunError, match="run 'one' has no attempt 2; it has 1 to 1"):
        submissions.logs("one", 2)
    with pytest.raises(RunError, match="run 'local' has no attempt 1; it has none"):
        submissions.logs("local", 1)


def test_the_run_id_of_the_command_wins_over_the_files(submissions, cluster, tmp_path, monkeypatch):
    """One file for every night, another id each night."""
    spec = tmp_path / "run.toml"
    text = f'run = "flowers"\nroot = "{tmp_path}"\n[model]\nsource = "deconvoy://zfnet-mini"\n[corpus]\nsource = "s3://bucket/photos"\n'
    spec.write_text(text)
    monkeypatch.setattr(submit, "submissions_of", lambda *_: submissions)
    done = CliRunner().invoke(app, ["submit", str(spec), "--run", "night-1", "--address", "http://127.0.0.1:8265"])
    assert done.exit_code == 0, done.output
    assert [run for _, run, _ in cluster.asked] == ["night-1"]
    done = CliRunner().invoke(app, ["submit", str(spec), "--run", "Night 1", "--address", "http://127.0.0.1:8265"])
    assert done.exit_code == 2 and "'Night 1'" in done.output


def test_a_run_that_speaks_is_alive_though_the_cluster_that_is_asked_does_not_know_it(submissions, cluster, clock):
    submissions.submit("scan", SPEC)
    cluster.jobs.clear()  # another cluster than the one that was given it
    clock.time += timedelta(minutes=2)
    Attempts(submissions.root, "flowers").report_progress(1, Progress(at=clock.time.isoformat(), phase="publish"))
    assert submissions.status("flowers").state is RunState.RUNNING
    assert submissions.submit("scan", SPEC).attempt == 1 and len(cluster.asked) == 1


def test_a_job_is_given_the_whole_path_of_a_root_that_the_service_knows_by_a_relative_one(
    tmp_path, cluster, clock, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # the job stands elsewhere
    submissions = Submissions(Root("atlas"), cluster, clock)
    submissions.submit("scan", SPEC)
    assert cluster.asked == [(f"{tmp_path}/atlas", "flowers", 1)]
    assert Attempts(submissions.root, "flowers").begun(1).spec.values["root"] == f"{tmp_path}/atlas"
