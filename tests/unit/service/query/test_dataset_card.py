"""Dataset cards: `datasets` loads every table by a root's card, with pictures; a card of somebody else is never replaced."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from datasets import Features
from typer.testing import CliRunner

from service.cli.main import app
from service.query import dataset_card, sql
from tests.support import instrumented
from tests.support.published import CHANNELS, commit_runs_row, publish
from workers.errors import DamagedRun, RunError
from workers.store.columns import Table
from workers.store.root import Root
from workers.store.tables.registry import TABLES

REPOSITORY = Path(__file__).parents[4]
DASHBOARDS = REPOSITORY / "docs" / "dashboards.md"
LOADED = """
import json, sys
from datasets import get_dataset_config_names, load_dataset
def shown(value):
    return list(value.size) if hasattr(value, "size") else value
tables = {name: load_dataset(sys.argv[1], name) for name in get_dataset_config_names(sys.argv[1])}
rows = {name: {split: [{k: shown(v) for k, v in row.items()} for row in table] for split, table in splits.items()}
        for name, splits in tables.items()}
default = load_dataset(sys.argv[1])
print(json.dumps([rows, {split: len(table) for split, table in default.items()}], default=str))
"""


@pytest.fixture
def root(tmp_path) -> Root:
    root = Root(str(tmp_path / "root"))
    publish(root, "first")
    publish(root, "second-run", "2026-11-24T02:00:00+00:00")
    for run in ("first", "second-run"):
        commit_runs_row(root, run)
    instrumented.occlude(root)
    return root


def python(code: str, tmp_path: Path, *words: str) -> str:
    """What a Python without network prints."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "huggingface")}
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | offline, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def front(root: Root) -> dict[str, Any]:
    """The metadata of the card of a root."""
    return yaml.safe_load(root.read("README.md").decode().split("---\n")[1])


def made(root: Root, *options: str) -> str:
    done = CliRunner().invoke(app, ["dataset-card", "--root", root.url, *options])
    assert done.exit_code == 0, done.stderr
    return done.stdout


def test_datasets_loads_every_table_and_decodes_its_pictures(root, tmp_path):
    assert made(root) == f"{root.url}/README.md  8 tables, 3 runs\n"
    rows, default = json.loads(python(LOADED, tmp_path, root.url))
    assert default == {"first": len(rows["patches"]["first"]), "second_run": len(rows["patches"]["second_run"])}
    for name, splits in rows.items():
        [(count,)] = sql.ask(root, f"SELECT count(*) FROM {name}").rows  # noqa: S608 - our own names
        assert sum(map(len, splits.values())) == count > 0
        assert all(set(row) == {*TABLES[name].schema.names} for split in splits.values() for row in split)
    patch = rows["patches"]["first"][0]
    assert patch["patch"] == [
        patch["box_right"],
        patch["box_bottom"],
    ]  # of a box that begins above and left of the input
    assert patch["projection"] == patch["patch"] and patch["layer"] == "relu1"
    assert rows["occlusions"]["covered"][0]["panel_image"] and len(rows["units"]["first"]) == sum(CHANNELS.values())


@pytest.mark.parametrize("name", TABLES)
def test_types_of_columns_are_those_that_datasets_gives(name):
    schema = TABLES[name].schema
    features = [dataset_card._feature(column.name, column.type) for column in schema]
    assert features == Features.from_arrow_schema(schema)._to_yaml_list()


def test_a_run_of_an_earlier_version_has_null_in_new_columns(root, tmp_path, monkeypatch):
    columns = TABLES["units"].schema
    older = Table("units", pa.schema([*columns][:-1], columns.metadata), TABLES["units"].sorted_by)
    monkeypatch.setitem(TABLES, "units", older)
    publish(root, "older", "2026-11-20T02:00:00+00:00")
    monkeypatch.undo()
    made(root)
    rows, _ = json.loads(python(LOADED, tmp_path, root.url))
    assert (
        {row["obstacle"] for row in rows["units"]["older"]}
        == {None}
        != {row["obstacle"] for row in rows["units"]["first"]}
    )


def test_the_card_has_metadata_of_the_hub_and_short_names(root):
    made(root, "--title", 'Channels: "all" | of them', "--license", "cc-by-4.0", "--run", "first")
    metadata = front(root)
    assert metadata["pretty_name"] == 'Channels: "all" | of them' and metadata["license"] == "cc-by-4.0"
    assert [config["config_name"] for config in metadata["configs"] if config.get("default")] == ["patches"]
    assert {split["split"] for config in metadata["configs"] for split in config["data_files"]} == {"first"}
    paths = [path for config in metadata["configs"] for split in config["data_files"] for path in split["path"]]
    assert paths and all(root.exists(path) for path in paths)
    text = root.read("README.md").decode()
    assert "| first | first | scan | none | photos | 12 | 2026-11-23 |" in text and "/photos" not in text
    made(root)
    assert "license" not in front(root)


def test_splits_have_names_of_their_own_and_are_at_most_thirty(tmp_path):
    root = Root(str(tmp_path))
    small = dict.fromkeys(CHANNELS, 3)
    for number, run in enumerate(["a-b", "a.b", "a_b", *(f"n{each}" for each in range(28))]):
        publish(root, run, f"2026-11-{number + 1:02}T02:00:00+00:00" if number < 30 else "2026-12-01", channels=small)
    card = dataset_card.make(root, "t")
    assert len(card.runs) == 30 and "a-b" not in card.runs
    similar = dataset_card.make(root, "t", None, ["a-b", "a.b", "a_b"]).text
    assert {*re.findall(r'split: "(.*)"', similar)} == {"a_b", "a_b__2", "a_b__3"}


def test_names_of_splits_are_distinct_and_none_is_reserved(tmp_path):
    root = Root(str(tmp_path))
    for day, run in enumerate(["all", "a-b", "a_b__2", "a.b"], start=1):
        publish(root, run, f"2026-11-0{day}T02:00:00+00:00")
    text = dataset_card.make(root, "t").text
    assert {*re.findall(r'split: "(.*)"', text)} == {"all__2", "a_b", "a_b__2", "a_b__3"}


def test_words_that_no_file_can_hold_are_escaped(root):
    made(root, "--title", "\udcff", "--license", "\udcff")
    assert "\\udcff" in root.read("README.md").decode()


def test_a_card_that_was_edited_or_made_by_others_is_not_replaced(root):
    made(root)
    made(root, "--license", "mit")
    for text in (b"# My own\n", root.read("README.md").replace(b"mit", b"cc0-1.0"), root.read("README.md") + b"more\n"):
        root.put("README.md", text)
        done = CliRunner().invoke(app, ["dataset-card", "--root", root.url])
        assert done.exit_code == 2 and done.stderr.count("\n") == 1
        assert "README.md was not written by `deconvoy dataset-card`, or was edited; move it away first" in done.stderr
        assert root.read("README.md") == text


def test_runs_that_are_damaged_or_do_not_exist(root, tmp_path):
    next(Path(root.base, "tables/units/run=first").iterdir()).unlink()
    assert dataset_card.make(root, "t").runs == ("covered", "second-run")
    with pytest.raises(DamagedRun, match="run 'first' is damaged"):
        dataset_card.make(root, "t", None, ["first"])
    with pytest.raises(RunError, match="third"):
        dataset_card.make(root, "t", None, ["third"])
    with pytest.raises(RunError, match="no published runs"):
        dataset_card.make(Root(str(tmp_path / "empty")), "t")


def test_the_example_of_the_documents_works(tmp_path):
    section = DASHBOARDS.read_text().split("\n## Hugging Face Hub")[1].split("\n## ")[0]
    shell, code = re.findall(r"^```(?:console|python)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    (tmp_path / "deconvoy-demo").mkdir()
    publish(Root(str(tmp_path / "deconvoy-demo" / "atlas")), "demo")
    command = shell.replace("$ deconvoy", f"{sys.executable} -m deconvoy")
    subprocess.run(command, shell=True, cwd=tmp_path, check=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})  # noqa: S602
    assert python(code, tmp_path) == "relu1 0 (5, 5)\n"
