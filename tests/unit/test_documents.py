"""Values as JSON files: the bytes that older versions wrote, and one line for what cannot be read."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from service.control import fires, schedules
from service.control.timetable import Fire, Overlap, Pause, Schedule
from service.http import idempotency, keys
from service.http.idempotency import FirstSubmission
from service.http.keys import Key, Scope
from workers.errors import Reason
from workers.kinds import Kind
from workers.spec.plain import PlainSpec
from workers.store import attempts, documents, verdicts
from workers.store.attempts import Begun, Ended, Progress
from workers.store.documents import Pin
from workers.store.json_format import JsonFormat
from workers.store.verdicts import StoredVerdict

AT = "2026-11-26T02:00:00+00:00"
NAMED = {"run": "flowers", "root": "/r\u00e4ume"}
PROGRESS: Mapping[str, Any] = {
    "phase": "scan", "done": 5, "total": None, "unit": "images", "rejects": {"damaged": 1}, "per_s": 0.1,
    "left_s": None, "shares": {"decode": 0.25}, "line": "a\nb",
}  # fmt: skip
SCHEDULE = {
    "name": "nightly", "cron": "0 2 * * *", "tz": "UTC", "job": "scan", "spec": NAMED, "overlap": "queue",
    "keep": None, "paused": False, "since": AT, "made": AT,
}  # fmt: skip
FIRE = {
    "at": AT, "run": "nightly-1", "refused": "", "waits": "", "error": "", "behind": "", "submitted": True,
    "removed": False,
}  # fmt: skip
KEY = {"id": "0" * 12, "name": "dashboard", "scope": "read", "created": AT, "digest": "1" * 64}
BEGUN = {"at": AT, "cluster": "local", "job": "scan", "spec": NAMED}
ENDED = {"at": AT, "exit_code": 2, "error": "no layer 'relu9'"}
FIRST = {"body": "2" * 64, "spec": NAMED}
VERDICT = {"uri": "/a\udcff.png", "reason": "vanished", "detail": "gone"}

# Of each document its format, a value, what its file says, and how that was written before there were formats.
DOCUMENTS: Mapping[str, tuple[JsonFormat[Any], Any, Mapping[str, Any], Mapping[str, Any]]] = {
    "begun": (attempts._BEGUN, Begun(AT, "local", Kind.SCAN, PlainSpec(NAMED)), BEGUN, {"indent": 1, "sort_keys": True}),
    "progress": (
        attempts._PROGRESS, Progress(AT, **PROGRESS), {"at": AT, **PROGRESS}, {"indent": 1, "sort_keys": True}
    ),
    "ended": (attempts._ENDED, Ended(AT, 2, "no layer 'relu9'"), ENDED, {"indent": 1, "sort_keys": True}),
    "schedule": (
        schedules.SCHEDULE,
        Schedule("nightly", "0 2 * * *", "UTC", Kind.SCAN, PlainSpec(NAMED), Overlap.QUEUE, since=AT, made=AT),
        SCHEDULE, {"indent": 1, "sort_keys": True},
    ),
    "pause": (
        schedules._PAUSE, Pause(paused=True, since=AT, made=AT), {"paused": True, "since": AT, "made": AT}, {"indent": 1}
    ),
    "fire": (fires._FORMAT, Fire(AT, "nightly-1", submitted=True), FIRE, {"indent": 1}),
    "key": (keys._FORMAT, Key("0" * 12, "dashboard", Scope.READ, AT, "1" * 64), KEY, {"indent": 1}),
    "verdict": (verdicts._FORMAT, StoredVerdict("/a\udcff.png", Reason.VANISHED, "gone"), VERDICT, {"sort_keys": True}),
    "first submission": (idempotency._FORMAT, FirstSubmission("2" * 64, PlainSpec(NAMED)), FIRST, {}),
    "pin with a depth": (
        documents.PIN, Pin({"k": 2}, "corpora/c", "12"), {"identity": {"k": 2}, "manifest": "corpora/c", "depth": "12"},
        {"indent": 1, "sort_keys": True},
    ),
    "pin": (documents.PIN, Pin({"k": 2}, "corpora/c"), {"identity": {"k": 2}, "manifest": "corpora/c"}, {"indent": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_written_and_read_as_it_was_before_it_had_a_format(name):
    form, value, plain, how = DOCUMENTS[name]
    data = json.dumps(plain, **how).encode()
    assert form.encode(value) == data
    assert form.decode(data) == value


@pytest.mark.parametrize("name", DOCUMENTS)
def test_keys_of_a_newer_version_are_ignored(name):
    form, value, plain, _ = DOCUMENTS[name]
    assert form.decode(json.dumps({**plain, "colour": "red"}).encode()) == value


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_document_is_one_line(name, data):
    with pytest.raises(ValueError, match=r"\w") as raised:
        DOCUMENTS[name][0].decode(data)
    assert "\n" not in str(raised.value)


def test_the_key_that_is_wrong_is_named():
    with pytest.raises(ValueError, match=r"^at: Input should be a valid string \(and 1 more\)$"):
        attempts._ENDED.decode(json.dumps({"at": 1, "exit_code": "?"}).encode())
