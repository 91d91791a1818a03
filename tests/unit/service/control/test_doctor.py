"""What an installation and a root can do: good stores pass, each kind of bad store fails with the way out."""

import json
import re
import threading

import pytest
from typer.testing import CliRunner

from service.cli.main import app
from service.control import doctor
from tests.support import s3
from workers.store.root import Root


def failed(root: Root) -> list[str]:
    return [f"{finding.check}: {finding.detail}" for finding in doctor.check_root(root) if not finding.ok]


@pytest.mark.parametrize("url", ["local", "memory://doctor/root"])
def test_good_roots_pass_and_nothing_is_left_behind(tmp_path, url):
    root = Root(str(tmp_path / "root") if url == "local" else url)
    findings = list(doctor.check_root(root))
    assert [finding.ok for finding in findings] == [True] * 4
    if root.is_local:
        assert not (tmp_path / "root").exists()
    else:
        assert not root.files(doctor.FOLDER)


def test_two_doctors_of_one_root_do_not_disturb_each_other(tmp_path):
    root = Root(str(tmp_path / "root"))
    root.put("kept", b"1")
    one, other = doctor.check_root(root), doctor.check_root(root)
    findings = [next(one), next(other), *other, *one]
    assert [finding.ok for finding in findings] == [True] * 8
    assert root.files("") == {"kept": 1}


def test_a_bucket_passes(monkeypatch):
    with s3.server(monkeypatch):
        import s3fs

        s3fs.S3FileSystem().mkdir("atlas")
        assert failed(Root("s3://atlas/root")) == []


class Replacing(Root):
    """A store whose exclusive create replaces what exists."""

    def create(self, rel: str, data: bytes) -> bool:
        self.put(rel, data)
        return True


class Late(Root):
    """A store whose listings are out of date."""

    def files(self, folder: str) -> dict[str, int]:
        del folder
        return {}


class Cached(Root):
    """A store that gives old versions."""

    def read(self, rel: str) -> bytes:
        del rel
        return b"first"


@pytest.mark.parametrize(
    ("store", "check", "line"),
    [
        (
            Replacing,
            "create a file once",
            r"an existing file was replaced by an exclusive create; two runs .* use a local disk",
        ),
        (Late, "see new files", "a new file is not listed"),
        (Cached, "write and read", "an overwritten file still returns its old contents"),
    ],
)
def test_a_store_that_cannot_hold_a_root_fails_with_the_way_out(tmp_path, store, check, line):
    root = store(str(tmp_path / "root"))
    [problem] = failed(root)
    assert problem.startswith(f"{check}: ") and re.search(line, problem)


def test_writers_that_check_first_and_write_then_are_found(tmp_path, monkeypatch):
    root, gate = Root(str(tmp_path / "root")), threading.Barrier(doctor.WRITERS)

    def create(rel: str, data: bytes) -> bool:
        found = root.exists(rel)
        gate.wait(5)
        root.put(rel, data)
        return not found

    monkeypatch.setattr(root, "create", create)
    with pytest.raises(
        OSError, match=r"8 of 8 writers created the same file; two runs with the same id could both publish"
    ):
        doctor._race(root, f"{doctor.FOLDER}/race")


def test_the_command_prints_a_line_for_each_check_and_its_exit_code(tmp_path, monkeypatch):
    result = CliRunner().invoke(app, ["doctor", str(tmp_path / "root")])
    assert result.exit_code == 0
    assert [line.split(":")[0].split(None, 1) for line in result.stdout.splitlines()] == [
        ["ok", "packages"], ["ok", "devices"], ["ok", "write and read"], ["ok", "see new files"], ["ok", "create a file once"],
        ["ok", "create a file once, with many writers"],
    ]  # fmt: skip
    told = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert [finding["check"] for finding in told] == ["packages", "devices"]
    monkeypatch.setattr(Root, "files", Late.files)
    result = CliRunner().invoke(app, ["doctor", str(tmp_path / "root")])
    assert result.exit_code == 1 and "FAILED  see new files: " in result.stdout
