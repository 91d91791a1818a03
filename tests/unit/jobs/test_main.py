"""The entry point of jobs: one spec file, paths relative to it, one line for what is wrong."""

import json
from dataclasses import replace
from pathlib import Path
from threading import Event

import pyarrow.parquet as pq
import pytest

from jobs.__main__ import main
from jobs.run.progress import ProgressWriter
from workers.errors import ModelError
from workers.host import log
from workers.kinds import Kind
from workers.models.model import load
from workers.spec.parts import ModelSpec
from workers.spec.plain import PlainSpec
from workers.spec.toml import read_toml
from workers.store.attempts import Attempts, Begun, Ended
from workers.store.root import Root


def test_filters_run_from_a_file_with_paths_relative_to_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "specs").mkdir()
    spec = tmp_path / "specs" / "run.toml"
    spec.write_text('run = "f"\nroot = "../atlas"\n[[models]]\nsource = "deconvoy://zfnet-mini"\n')
    monkeypatch.chdir("/")
    assert main(["filters", str(spec)]) == 0, capsys.readouterr().err
    assert pq.read_table(tmp_path / "atlas" / "tables" / "filters").num_rows == 40
    monkeypatch.setenv("DECONVOY_LOG_FORMAT", "json")
    assert main(["filters", str(spec)]) == 0
    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert line["run"] == "f" and line["message"].startswith("run f was already published; nothing has changed")
    monkeypatch.undo()
    log.set_up()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "usage: python -P -m jobs scan|occlude|invert|"),
        (["dream", "run.toml"], "usage:"),
        (["scan", "nowhere.toml"], "spec file 'nowhere.toml' cannot be read"),
    ],
)
def test_wrong_words_are_one_line_and_exit_code_2(words, told, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_a_job_refuses_the_keys_of_another(tmp_path, capsys):
    spec = tmp_path / "run.toml"
    spec.write_text('root = "r"\n[model]\nsource = "deconvoy://zfnet-mini"\n[corpus]\nsource = "c"\n[scan]\nk = 3\n')
    assert main(["occlude", str(spec)]) == 2
    assert "scan: unknown key" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_models_and_class_files_are_relative_to_the_spec_too():
    text = '[[models]]\nsource = "torchvision://alexnet?weights=w/a.safetensors"\nclasses = "names.txt"\n'
    [model] = read_toml(text, Path("/specs"))["models"]
    assert model == {"source": "torchvision://alexnet?weights=/specs/w/a.safetensors", "classes": "/specs/names.txt"}


def test_class_names_come_from_a_file_of_as_many_lines_as_outputs(tmp_path):
    file = tmp_path / "names.txt"
    file.write_text("\n".join(f"class {number}" for number in range(101)))
    assert load(ModelSpec(source="deconvoy://zfnet-mini", classes=str(file))).stored.class_names[100] == "class 100"
    file.write_text("one\ntwo\n")
    with pytest.raises(ModelError, match="has 2 lines, but the model has 101 outputs"):
        load(ModelSpec(source="deconvoy://zfnet-mini", classes=str(file)))
    with pytest.raises(ModelError, match="cannot be read"):
        load(ModelSpec(source="deconvoy://zfnet-mini", classes=str(tmp_path / "none.txt")))


def taken(folder: Path) -> Attempts:
    """Attempt 1 at a run of filters, taken by a submitter."""
    attempts = Attempts(Root(str(folder)), "f")
    spec = {"run": "f", "root": str(folder), "models": [{"source": "deconvoy://zfnet-mini"}]}
    assert attempts.take(1, Begun("2026-11-26T00:00:00+00:00", "http://head:8265", Kind.FILTERS, PlainSpec(spec)))
    return attempts


def test_an_attempt_that_is_over_or_overtaken_before_it_begins_does_nothing(tmp_path, capsys):
    cancelled = taken(tmp_path / "a")
    cancelled.end(1, Ended("2026-11-26T00:00:01+00:00", 130, "cancelled"))
    assert main(["submitted", str(tmp_path / "a"), "f", "1"]) == 2
    assert "attempt 1 of run 'f' does not start: cancelled" in capsys.readouterr().err
    assert cancelled.ended(1).exit_code == 130
    overtaken = taken(tmp_path / "b")
    overtaken.take(2, overtaken.begun(1))
    assert main(["submitted", str(tmp_path / "b"), "f", "1"]) == 2
    assert "attempt 2 has started since" in capsys.readouterr().err
    assert not (tmp_path / "a" / "tables").exists() and not (tmp_path / "b" / "tables").exists()
    assert main(["submitted", str(tmp_path / "b"), "f", "2"]) == 0
    assert overtaken.ended(2).exit_code == 0


def test_an_attempt_whose_spec_is_not_valid_for_this_version_ends_with_its_mistakes(tmp_path):
    attempts = taken(tmp_path)
    begun = attempts.begun(1)
    attempts.take(2, replace(begun, spec=PlainSpec({**begun.spec.values, "colour": "red"})))
    assert main(["submitted", str(tmp_path), "f", "2"]) == 2
    assert attempts.ended(2).error.startswith("colour: unknown key")


def test_an_attempt_that_is_silent_for_long_is_seen_to_be_alive(tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.run.progress.BEAT_S", 0.05)
    attempts, spoke = taken(tmp_path), Event()
    monkeypatch.setattr(attempts, "report_progress", lambda *_: spoke.set())
    with ProgressWriter(attempts, 1):
        assert spoke.wait(10)
    spoke.clear()
    assert not spoke.wait(0.2)
