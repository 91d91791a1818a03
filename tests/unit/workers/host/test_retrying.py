"""The retry policy for storage: what may pass is tried again, what lasts comes as it is, and giving up is one line."""

import errno

import pytest

from workers.errors import StoreError
from workers.host import retrying
from workers.host.retrying import is_outage, may_pass, retried


class Flaky:
    """Raises each of some errors once, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.001)


def test_what_may_pass_is_tried_until_it_passes(caplog):
    act = Flaky(OSError(errno.EIO, "Input/output error"), ConnectionError("refused"), RuntimeError("throttled"))
    assert retried(act, "reading a.jpg") == "done"
    assert act.calls == 4
    assert "reading a.jpg failed (refused); retrying in" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file"),
        FileExistsError("taken"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EROFS, "Read-only file system"),
        PermissionError(errno.EACCES, "Permission denied"),
        ValueError("a bug"),
    ],
)
def test_what_lasts_comes_at_once_and_as_it_was(error):
    act = Flaky(error)
    with pytest.raises(type(error)):
        retried(act, "writing a.parquet")
    assert act.calls == 1


def test_giving_up_is_one_line_that_names_the_store_the_tries_and_the_way_out():
    with pytest.raises(
        StoreError, match=r"^reading a.jpg failed \d+ times in \d+ s: refused; run the same command again"
    ):
        retried(Flaky(*(ConnectionError("refused\nand more") for _ in range(10_000))), "reading a.jpg", patience_s=0.05)


def test_without_patience_there_is_one_try():
    act = Flaky(ConnectionError("refused"))
    with pytest.raises(ConnectionError):
        retried(act, "reading a.jpg", patience_s=0)
    assert act.calls == 1


def test_an_interruption_is_not_held_back():
    assert not may_pass(KeyboardInterrupt())


def test_missing_credentials_are_one_line_at_once():
    missing = type("NoCredentialsError", (Exception,), {})("Unable to locate credentials")  # as botocore names it
    act = Flaky(missing)
    with pytest.raises(StoreError, match=r"^reading a failed: Unable to locate credentials$"):
        retried(act, "reading a", 60)
    assert act.calls == 1 and may_pass(missing) and not is_outage(missing)
    assert is_outage(OSError(None, "An error occurred (503)")) and not is_outage(FileNotFoundError("gone"))
