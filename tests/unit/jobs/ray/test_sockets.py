"""Where Ray puts its sockets, whose paths may have 107 characters, and its token, where nobody has a home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.ray import sockets
from service.control import addresses
from workers.errors import UsageError


@pytest.fixture(autouse=True)
def no_folder_of_rays_own(monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)


def test_a_short_temporary_folder_is_rays_own_choice(monkeypatch):
    monkeypatch.setenv("TMPDIR", "/var")
    assert sockets.short_parent() is None


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_long_temporary_folder_is_not_used_for_sockets(name, monkeypatch):
    monkeypatch.setenv(name, "/var/" + "x" * 75)
    folder = sockets.short_parent()
    assert (
        folder is not None
        and len(f"{folder}/ray/session_2026-11-29_14-08-30_123456_1234567/sockets/plasma_store") <= 107
    )


def test_a_longer_name_of_rays_own_folder_counts(monkeypatch):
    monkeypatch.setenv("TMPDIR", "/var/" + "x" * 27)
    assert sockets.short_parent() is None
    assert sockets.short_parent(more=9) is not None


def test_without_a_short_folder_that_can_be_written_one_line_says_what_to_set(monkeypatch):
    monkeypatch.setenv("TMPDIR", "/var/" + "x" * 75)
    monkeypatch.setattr(sockets, "SHORT_FOLDERS", ())
    with pytest.raises(UsageError, match="set RAY_TMPDIR to a writable folder whose path has at most 34 characters"):
        sockets.short_parent()


def test_a_user_without_a_home_has_no_token_and_no_error():
    code = (
        "import pwd; pwd.getpwuid = {}.__getitem__; "
        "from service.control.addresses import authorization; assert authorization() == {}"
    )
    environment = {name: value for name, value in os.environ.items() if name != "HOME" and not name.startswith("RAY_")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, cwd=Path(addresses.__file__).parents[2])
