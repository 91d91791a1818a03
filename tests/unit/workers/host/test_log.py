"""Logs: one line for each line whatever is in it, as text for people or JSON with all fields."""

import json
import logging

import pytest

from jobs.run.progress import ProgressWriter
from workers.actors.shard import CheckpointBatch, CheckpointShard, InversionBatch, Restart, Shard, log_fields
from workers.errors import UsageError
from workers.host import log
from workers.host.log import Log
from workers.store.attempts import Attempts
from workers.store.root import Root

HOSTILE = 'a\nERROR fake\r\x1b[2J\u2028\x85"},{"\udc80.png'


@pytest.fixture(autouse=True)
def as_before():
    yield
    log.set_up("text")


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_of_json_carries_time_level_message_and_what_it_is_about(capsys):
    log.set_up("json")
    Log({"run": "flowers"}).to(attempt=2).say("done", log.WARNING, shard="0-512", rejects={"damaged": 1})
    [line] = lines(capsys)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning", "message": "done", "run": "flowers", "attempt": 2, "shard": "0-512", "rejects": {"damaged": 1},
    }  # fmt: skip


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_hostile_name_of_an_image_stays_one_line(capsys, form):
    log.set_up(form)
    Log().to(image=HOSTILE).say(f"{HOSTILE}: the decoder crashed; it is rejected")
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1 and told.endswith("\n") and told.isascii()
    if form == "json":
        assert json.loads(told)["image"] == HOSTILE and json.loads(told)["level"] == "info"


def test_text_is_for_people_with_the_letters_that_they_write(capsys):
    log.set_up("text")
    Log({"run": "flowers"}).say("Äpfel.png is gone")
    Log().say("quiet", log.DEBUG)
    Log().say("no layer 'relu9'", log.ERROR)
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("Z Äpfel.png is gone") and second.endswith("Z error: no layer 'relu9'")


def test_a_field_never_stands_for_the_time_the_level_or_the_message(capsys):
    log.set_up("json")
    Log({"level": "fake", "message": "fake", "time": "fake"}).say("true", error=ValueError("why"))
    [line] = lines(capsys)
    assert (line["level"], line["message"]) == ("info", "true") and line["time"] != "fake"
    assert "ValueError: why" in line["exception"]


def test_what_libraries_warn_of_is_json_too_and_set_up_twice_is_told_once(capsys):
    for _ in range(2):
        log.set_up("json")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    [line] = lines(capsys)
    assert (line["logger"], line["message"]) == ("uvicorn.error", "Invalid HTTP request received.")


def test_the_form_is_that_of_the_word_or_of_the_environment(monkeypatch):
    monkeypatch.setenv(log.FORMAT, "json")
    log.set_up()
    assert log.form() is log.Form.JSON
    log.set_up("text")
    assert log.form() is log.Form.TEXT
    with pytest.raises(UsageError, match="log format 'xml' is not valid; use text or json"):
        log.set_up("xml")


def test_lines_of_an_attempt_carry_its_run_and_number_and_the_shard_that_they_are_about(tmp_path, capsys):
    log.set_up("json")
    with ProgressWriter(Attempts(Root(str(tmp_path)), "flowers"), 3) as watch:
        assert watch.begin("flowers") == {"run": "flowers", "attempt": 3}
        watch.phase("scan", 12, "images")
        watch.note("done", node="n1", **log_fields(Shard(0, 8, "m", "shards/c/r.parquet")))
        watch.say(f"{HOSTILE} is rejected", image=HOSTILE)
    found = lines(capsys)
    assert all((line["run"], line["attempt"]) == ("flowers", 3) for line in found) and len(found) == 3
    assert (found[0]["message"], found[0]["phase"], found[0]["total"]) == ("scan: 12 images", "scan", 12)
    assert (found[1]["shard"], found[1]["result"], found[1]["node"]) == ("0-8", "shards/c/r.parquet", "n1")
    assert Attempts(Root(str(tmp_path)), "flowers").progress(3).line == f"{HOSTILE} is rejected"


def test_work_is_named_by_its_images_and_its_results():
    batch = InversionBatch(tuple(Restart(n, n + 1, "m", f"shards/c/{n}.parquet", 0, n) for n in (4, 5)), "relu2")
    assert log_fields(batch) == {"shard": "4-6", "layer": "relu2", "results": 2, "result": "shards/c/4.parquet"}
    several = CheckpointBatch(tuple(CheckpointShard(0, 8, "m", f"shards/{n}/a.parquet", n) for n in (1, 2)))
    assert log_fields(several) == {"shard": "0-8", "results": 2, "result": "shards/1/a.parquet"}
    assert log_fields("anything else") == {"item": "anything else"}
