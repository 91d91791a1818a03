"""The entry point of jobs: one spec file, paths relative to it, one line for what is wrong."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.__main__ import main
from workers.errors import ModelError
from workers.model import load
from workers.spec import ModelSpec, read_toml


def test_filters_run_from_a_file_with_paths_relative_to_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "specs").mkdir()
    spec = tmp_path / "specs" / "run.toml"
    spec.write_text('run = "f"\nroot = "../atlas"\n[[models]]\nsource = "deconvoy://zfnet-mini"\n')
    monkeypatch.chdir("/")
    assert main(["filters", str(spec)]) == 0, capsys.readouterr().err
    assert pq.read_table(tmp_path / "atlas" / "tables" / "filters").num_rows == 40


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "usage: python -P -m jobs scan|occlude|invert|sanity|filters run.toml"),
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
    with pytest.raises(ModelError, match="has 2 lines, the model has 101 outputs"):
        load(ModelSpec(source="deconvoy://zfnet-mini", classes=str(file)))
    with pytest.raises(ModelError, match="cannot be read"):
        load(ModelSpec(source="deconvoy://zfnet-mini", classes=str(tmp_path / "none.txt")))
