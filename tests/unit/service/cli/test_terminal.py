"""What reaches a terminal: no name steers it, and what a machine does to a command is one line."""

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from service.cli import console, main, terminal
from service.cli.console import ProgressBars, print_json, print_table
from service.cli.main import app
from service.http.problems import status_of
from service.sheets import canvas
from tests.support.published import publish
from workers.errors import StoreError
from workers.host import machine
from workers.store.root import Root

HOSTILE = "a\x1b[2J\x9b31m\u202egnp\nb\r\x07\x00"
STEERING = ("\x1b", "\x9b", "\u202e", "\r", "\x07", "\x00")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> str:
    root = tmp_path_factory.mktemp("root")
    publish(Root(str(root)), named=[(f"{number}{HOSTILE}.png", f"label{HOSTILE}") for number in range(13)])
    return str(root)


def steers(text: str) -> list[str]:
    return [sign for sign in STEERING if sign in text]


def test_lines_tables_and_progress_escape_what_steers_a_terminal(capsys):
    terminal.echo(HOSTILE)
    terminal.complain(HOSTILE)
    print_table([{"name": HOSTILE}], {"name": f"heading {HOSTILE}"})
    bars = io.StringIO()
    ProgressBars(Console(file=bars)).say(HOSTILE)
    shown = capsys.readouterr()
    for text in (shown.out, shown.err, bars.getvalue()):
        assert not steers(text) and r"\x1b[2J\x9b31m\u202egnp\nb" in text
    assert len(shown.err.splitlines()) == 1 and len(bars.getvalue().splitlines()) == 1


def test_a_jobs_log_keeps_its_lines_and_nothing_else_that_steers(capsys):
    terminal.echo_log(f"first\tline\n{HOSTILE}")
    shown = capsys.readouterr().out
    assert shown.startswith("first\tline\na\\x1b[2J") and not steers(shown)


def test_json_is_ascii_and_says_the_name_as_it_is(capsys):
    print_json({"name": HOSTILE + "\udcff"})
    shown = capsys.readouterr().out
    assert shown.isascii() and not steers(shown) and json.loads(shown) == {"name": HOSTILE + "\udcff"}


@pytest.mark.parametrize(
    "words",
    [
        ["query", "top", "--layer", "relu1", "--channel", "0"],
        ["query", "label", f"label{HOSTILE}"],
        ["query", "image", f"1{HOSTILE}.png"],
        ["sql", "SELECT image_id, label, 'x' AS \"h\x1b[2J\" FROM top LIMIT 3"],
        ["query", "top", "--layer", f"no{HOSTILE}".replace("\0", ""), "--channel", "0"],
    ],
)
def test_names_in_answers_and_errors_steer_nothing(root, words):
    result = CliRunner().invoke(app, [*words, "--root", root])
    assert result.exit_code in (0, 2), result.output
    assert not steers(result.stdout + result.stderr)


def test_a_caption_is_one_line_and_no_formula():
    from PIL import ImageFont

    short = canvas.shorten(HOSTILE, 10_000, ImageFont.load_default(12))
    assert not steers(short) and "\n" not in short
    assert canvas.escape("$\\frac{$\n") == r"\$\frac{\$\n"


def deconvoy(*words: str, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service", *words], stderr=subprocess.PIPE, text=True, timeout=120, check=False, **more
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["--help"],
        ["query", "units", "--layer", "relu1"],
        ["query", "units", "--layer", "relu1", "--json"],
    ],
)
def test_a_full_device_at_standard_output_is_one_line(root, words):
    more = ["--root", root] if words[0] == "query" else []
    with open("/dev/full", "w") as full:
        result = deconvoy(*words, *more, stdout=full)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1), result.stderr
    assert result.stderr.startswith("deconvoy: No space left on device; free some")


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_reader_that_leaves_early_is_no_error(root, more):
    reading, writing = os.pipe()
    os.close(reading)
    result = deconvoy("query", "top", "--root", root, "--layer", "relu1", "--channel", "0", *more, stdout=writing)
    os.close(writing)
    assert result.stderr == ""


def test_a_terminal_without_our_letters_gets_escapes(root):
    words = ["sql", "SELECT 'ünï😀' AS name", "--root", root]
    result = deconvoy(
        *words, stdout=subprocess.PIPE, encoding="latin-1", env=os.environ | {"PYTHONIOENCODING": "latin-1"}
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert r"ünï\U0001f600" in result.stdout


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/a"),
            "'/a': No space left on device; free some space and run",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/a"), "'/a': Permission denied"),
        (OSError("a library says so"), "a library says so"),
        (MemoryError(), "out of memory; close other programs"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
    ],
)
def test_what_a_machine_does_is_one_line_and_exit_code_1(root, monkeypatch, error, line):
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(console, "print_table", broken)
    result = CliRunner().invoke(app, ["query", "units", "--layer", "relu1", "--root", root])
    assert result.exit_code == 1
    assert result.stderr.startswith("deconvoy: ") and line in result.stderr and result.stderr.count("\n") == 1


def test_what_an_actor_raised_is_told_without_what_ray_has_put_round_it():
    class Wrapped(OSError):
        cause = OSError(errno.EIO, "Input/output error")

    assert machine.explain(Wrapped("50 lines\nof traceback")) == "Input/output error"


def test_a_bug_still_shows_where_it_is(root, monkeypatch):
    monkeypatch.setattr(console, "print_table", lambda *_: dict[str, object]()["gone"])
    assert isinstance(
        CliRunner().invoke(app, ["query", "units", "--layer", "relu1", "--root", root]).exception, KeyError
    )


def test_an_interrupt_while_the_command_is_loaded_is_one_line(tmp_path):
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    path = os.pathsep.join([str(tmp_path), str(Path(main.__file__).parents[2])])
    result = deconvoy("query", "units", "--layer", "relu1", env=os.environ | {"PYTHONPATH": path})
    assert (result.returncode, result.stderr) == (130, "deconvoy: stopped\n")


def test_a_store_that_fails_is_told_over_http_as_out_of_reach_and_no_fault_of_the_caller():
    assert status_of(StoreError("reading s3://b/k failed: slow down")) == 503
