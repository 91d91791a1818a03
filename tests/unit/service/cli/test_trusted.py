"""Models that are code: which commands run it, and that none does without --trust-code."""

import json
import sys

import pytest
from typer.testing import CliRunner

from service.cli.main import app
from tests.support.own_code import NET

EVOLVE = (
    "nets.py:small' is code, and evolve cannot give its network the weights of checkpoints; name the network, such as"
)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NET)
    (tmp_path / "run.toml").write_text(
        'root = "atlas"\n[model]\nsource = "nets.py:small"\n[corpus]\nsource = "photos"\n'
    )
    return tmp_path


def deconvoy(*words: str):
    return CliRunner().invoke(app, list(words))


def test_the_layers_of_code_are_listed():
    done = deconvoy("layers", "nets.py:small", "--trust-code", "--crop", "32", "--json")
    assert [layer["layer"] for layer in json.loads(done.stdout)] == [
        "first.0",
        "first.1",
        "first.2",
        "second",
        "relu",
        "mean",
        "head",
    ]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("layers", "nets.py:small", "--crop", "32"), "is code, which this command would run; add --trust-code"),
        (("layers", "nets.py:small", "--trust-code"), "depend on the size of its input: add --crop"),
        (("layers", f"stored://x@{'0' * 32}"), "it lies under a root; add --root"),
        (("scan", "--spec", "run.toml"), "is code, which this command would run; add --trust-code"),
        (("scan", "--spec", "run.toml", "--trust-code", "--k", "0"), "scan.k: 0 is not valid"),
        (
            ("scan", "--spec", "run.toml", "--trust-code"),
            "needs all of its preprocessing; give model.resize, model.crop, ",
        ),
        (("occlude", "--spec", "run.toml", "--images", "a.jpg"), "add --trust-code"),
        (("scan", "--spec", "run.toml", "--model", "net.pt2"), "net.pt2' is code, which this command would run"),
        (("scan", "--spec", "run.toml", "--model", "net.pth"), "net.pth' is a file of weights"),
        (
            ("filters", "--model", "nets.py:small", "--root", "atlas"),
            "is code, which only commands with --trust-code accept; scan it once with `deconvoy scan --trust-code`, "
            "and give the stored://NAME@FINGERPRINT in that run's manifest",
        ),
        (("evolve", "--model", "nets.py:small"), EVOLVE),
        (("evolve", "--spec", "run.toml", "--checkpoints", "*.pth"), "is code, which this command does not run"),
        (
            ("submit", "run.toml", "--address", "http://127.0.0.1:9"),
            "is code, which only commands with --trust-code accept",
        ),
        (
            ("schedule", "add", "a", "run.toml", "--cron", "0 2 * * *", "--address", "http://127.0.0.1:9"),
            "is code, which only commands with --trust-code accept",
        ),
    ],
)
def test_every_refusal_is_one_line_and_nothing_is_written(place, words, line):
    before = sorted(place.rglob("*"))
    done = deconvoy(*words)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.stderr
    assert line in done.stderr
    assert [path for path in sorted(place.rglob("*")) if path.suffix != ".pyc" and path.name != "__pycache__"] == before
