"""Runs in an Iceberg catalog: pyiceberg reads what the root's own reader gives, after runs come, go, or are registered twice."""

import csv
import json
import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import CommitFailedException
from typer.testing import CliRunner

from service.cli import register as command
from service.cli.main import app
from service.control import iceberg, labelling, registering
from service.query import catalog, sql
from tests.support import instrumented
from tests.support.published import CHANNELS, commit_runs_row, publish
from workers.errors import CatalogError, DamagedRun, RunError, UsageError
from workers.store.columns import RUN_ID, Table
from workers.store.root import Root
from workers.store.tables.registry import TABLES

REPOSITORY = Path(__file__).parents[4]
DASHBOARDS = REPOSITORY / "docs" / "dashboards.md"
HOSTILE = "it's [a] *b {c} 100%20 é"


def add_run(root: Root, run: str, created: str) -> None:
    publish(root, run, created)
    commit_runs_row(root, run)


def two_runs(folder: Path) -> Root:
    root = Root(str(folder))
    add_run(root, "first", "2026-11-23T02:00:00+00:00")
    add_run(root, "second", "2026-11-24T02:00:00+00:00")
    return root


@pytest.fixture
def root(tmp_path) -> Root:
    return two_runs(tmp_path / "root")


@pytest.fixture
def plain(tmp_path) -> Root:
    root = Root(str(tmp_path / "plain"))
    add_run(root, "first", "2026-11-23T02:00:00+00:00")
    return root


@pytest.fixture
def properties(tmp_path) -> dict[str, str]:
    (tmp_path / "warehouse").mkdir()
    return {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db", "warehouse": f"file://{tmp_path}/warehouse"}


@pytest.fixture
def target(properties) -> Catalog:
    return load_catalog("test", **properties)


def flags(properties: dict[str, str]) -> list[str]:
    return ["--catalog", "test", *(word for each in properties.items() for word in ("--property", "=".join(each)))]


def shown(row: dict[str, Any]) -> str:
    """A row as text; times have the class of time zone of whoever reads them."""
    return repr({key: value.isoformat() if isinstance(value, datetime) else value for key, value in row.items()})


def rows(target: Catalog, table: str, where: str = "true") -> list[str]:
    """The rows of a table as pyiceberg reads them, in no order."""
    read = target.load_table(f"deconvoy.{table}").scan(row_filter=where).to_arrow()
    return sorted(map(shown, read.to_pylist()))


def own_rows(root: Root, table: str) -> list[str]:
    """The rows of a table as the root's own reader gives them."""
    answer = sql.ask(root, f"FROM {table}")
    return sorted(shown(dict(zip(answer.columns, row, strict=True))) for row in answer.rows)


def snapshots(target: Catalog) -> dict[str, int]:
    return {name: len(target.load_table((space, name)).snapshots()) for space, name in target.list_tables("deconvoy")}


@pytest.mark.parametrize("name", ["root", HOSTILE])
def test_a_catalog_has_all_values_of_a_root_and_its_runs(name, target, tmp_path):
    root = two_runs(tmp_path / name)
    instrumented.occlude(root)
    registered = registering.register(root, target, "deconvoy")
    names = [each.table for each in registered]
    assert names[-1] == "runs" and {"units", "top", "patches", "previews", "occlusions"} < {*names}
    for name in names:
        assert rows(target, name) == own_rows(root, name)
    [patch, *_] = target.load_table("deconvoy.patches").scan(row_filter="run = 'second'").to_arrow().to_pylist()
    assert patch["run"] == "second" and patch["patch"]["bytes"].startswith(b"\x89PNG")


def test_nothing_is_copied_and_nothing_of_a_root_is_deleted_with_a_table(plain, target, tmp_path):
    registering.register(plain, target, "deconvoy")
    assert not [*(tmp_path / "warehouse").rglob("*.parquet")]
    units = target.load_table("deconvoy.units")
    [task] = units.scan().plan_files()
    assert Path(task.file.file_path.removeprefix("file://")).parent == Path(plain.base, "tables/units/run=first")
    assert units.properties["gc.enabled"] == "false"


def test_a_query_for_a_run_opens_its_files_only(root, target):
    registering.register(root, target, "deconvoy")
    top = target.load_table("deconvoy.top")
    paths = {task.file.file_path for task in top.scan(row_filter="run = 'second'").plan_files()}
    assert paths and all("/run=second/" in path for path in paths)
    assert not [*top.scan(row_filter="channel > 1000").plan_files()]  # the bounds of columns are known
    assert rows(target, "top", "run = 'second' and channel = 3 and rank = 0")


@pytest.mark.xfail(strict=True, reason="pyiceberg 0.12 finds the value of a partition only if its column is selected")
def test_a_filter_by_run_needs_no_column_run_in_the_result(plain, target):
    registering.register(plain, target, "deconvoy")
    read = target.load_table("deconvoy.units").scan("run = 'first'", ("channel",)).to_arrow()
    assert len(read) == sum(CHANNELS.values())  # then docs/dashboards.md need not say so any longer


def test_registering_again_changes_nothing(plain, target):
    registering.register(plain, target, "deconvoy")
    before = {name: target.load_table(f"deconvoy.{name}").metadata_location for name in snapshots(target)}
    again = registering.register(plain, target, "deconvoy")
    assert [(each.added, each.removed) for each in again] == [(0, 0)] * len(before)
    assert {name: target.load_table(f"deconvoy.{name}").metadata_location for name in before} == before


def test_a_run_that_comes_and_one_that_goes_are_one_snapshot_of_each_table_but_runs_which_loses_first(root, target):
    registering.register(root, target, "deconvoy")
    CliRunner().invoke(app, ["rm", "first", "--root", root.url], catch_exceptions=False)
    add_run(root, "third", "2026-11-25T02:00:00+00:00")
    registered = registering.register(root, target, "deconvoy")
    assert {(each.runs, each.added > 0, each.removed > 0) for each in registered} == {(2, True, True)}
    counts = snapshots(target)
    assert counts.pop("runs") == 3 and {*counts.values()} == {2}
    for each in registered:
        assert rows(target, each.table) == own_rows(root, each.table)


def test_a_root_whose_runs_are_all_removed_empties_its_tables(plain, target):
    with pytest.raises(RunError, match="has no published runs"):
        registering.register(Root(plain.base + "/nowhere"), target, "other")
    registering.register(plain, target, "deconvoy")
    CliRunner().invoke(app, ["rm", "first", "--root", plain.url], catch_exceptions=False)
    registered = registering.register(plain, target, "deconvoy")
    assert {(each.runs, each.files) for each in registered} == {(0, 0)}
    assert rows(target, "units") == []


def test_labels_that_a_run_was_given_are_a_table_and_their_old_files_go(plain, target, tmp_path):
    labels = tmp_path / "labels.csv"
    for label in ("tiger", "lion"):
        with labels.open("w", newline="") as file:
            csv.writer(file).writerows([("image_id", "label"), ("cat0/000.png", label)])
        labelling.relabel(catalog.find(plain, "first"), str(labels))
        registering.register(plain, target, "deconvoy")
        assert rows(target, "labels") == own_rows(plain, "labels") and label in rows(target, "labels")[0]


def test_a_damaged_run_is_left_out_and_named(root, target, capsys):
    next(Path(root.base, "tables/units/run=first").iterdir()).unlink()
    registered = registering.register(root, target, "deconvoy")
    assert {each.runs for each in registered} == {1} and not rows(target, "top", "run = 'first'")
    assert "run 'first'" in capsys.readouterr().err
    next(Path(root.base, "tables/units/run=second").iterdir()).unlink()
    with pytest.raises(DamagedRun):
        registering.register(root, target, "deconvoy")


def test_two_at_a_time_add_each_file_once(root, target, properties, monkeypatch):
    commit, others = registering._commit, [load_catalog("test", **properties)]

    def late(*change):
        while others:
            registering.register(root, others.pop(), "deconvoy")
        commit(*change)

    monkeypatch.setattr(registering, "_commit", late)
    registering.register(root, target, "deconvoy")
    for name in snapshots(target):
        assert rows(target, name) == own_rows(root, name)
    assert {*snapshots(target).values()} == {1}


def test_a_table_that_never_stops_changing_is_one_line(plain, target, monkeypatch):
    def conflict(*_):
        raise CommitFailedException("Requirement failed\nwhatever")

    monkeypatch.setattr(registering, "_commit", conflict)
    with pytest.raises(CatalogError, match=r"^table 'deconvoy.images' keeps changing: Requirement failed; run the"):
        registering.register(plain, target, "deconvoy")


def test_a_table_of_an_earlier_version_gets_the_new_columns(plain, target, monkeypatch):
    columns = TABLES["units"].schema
    older = Table("units", pa.schema([*columns][:-1], columns.metadata), TABLES["units"].sorted_by)
    monkeypatch.setitem(TABLES, "units", older)
    with pytest.raises(UsageError, match="has columns that this version of Deconvoy does not know: obstacle"):
        registering.register(plain, target, "deconvoy")
    assert target.load_table("deconvoy.units").schema() == iceberg.schema_of(older)
    monkeypatch.undo()
    registering.register(plain, target, "deconvoy")
    assert rows(target, "units") == own_rows(plain, "units")


def test_a_namespace_has_the_tables_of_one_root_and_of_no_other_program(plain, target, tmp_path):
    registering.register(plain, target, "deconvoy")
    other = Root(str(tmp_path / "other"))
    add_run(other, "first", "2026-11-23T02:00:00+00:00")
    with pytest.raises(
        UsageError, match=r"table 'deconvoy.(images|runs)' belongs to root 'file:///.*/plain'; use another"
    ):
        registering.register(other, target, "deconvoy")
    target.create_namespace("mine")
    target.create_table("mine.units", pa.schema([("a", pa.int32())]))
    with pytest.raises(UsageError, match=r"table 'mine.units' was not created by `deconvoy register`; use another"):
        registering.register(plain, target, "mine")


def test_rows_of_other_programs_are_found_before_anything_is_added_twice(plain, target):
    registering.register(plain, target, "deconvoy")
    rejects = target.load_table("deconvoy.rejects")
    rejects.append(rejects.scan().to_arrow())
    with pytest.raises(UsageError, match=r"'deconvoy\.rejects' has rows that another program wrote"):
        registering.register(plain, target, "deconvoy")


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_columns_have_the_ids_and_docs_of_the_files(table, tmp_path):
    schema = iceberg.schema_of(table)
    with pq.ParquetWriter(tmp_path / "t.parquet", table.schema):
        pass
    written = pq.ParquetFile(tmp_path / "t.parquet").schema_arrow
    for column in written:
        assert schema.find_field(column.name).field_id == int(column.metadata[b"PARQUET:field_id"])
    ids = sorted(schema.field_ids)
    assert ids.count(RUN_ID) == 1 and len(ids) == len({*ids})
    assert {field.name for field in schema.fields if not field.doc} == set()
    assert not iceberg.lacks_nested_ids(pq.read_metadata(tmp_path / "t.parquet"))


def test_files_without_ids_of_nested_fields_are_known(tmp_path):
    field = pa.field("patch", pa.struct([("bytes", pa.binary())]), metadata={"PARQUET:field_id": "20"})
    pq.write_table(pa.schema([field]).empty_table(), tmp_path / "t.parquet")
    assert iceberg.lacks_nested_ids(pq.read_metadata(tmp_path / "t.parquet"))


@pytest.mark.parametrize(
    ("url", "words"), [("memory://r", "does not support memory://"), ("/data/a?b", r"its path contains \?")]
)
def test_a_root_that_iceberg_cannot_read_is_refused(url, words, target):
    with pytest.raises(UsageError, match=words):
        registering.register(Root(url), target, "deconvoy")


def test_the_command_prints_tables(plain, properties):
    run = ["register", "--root", plain.url, *flags(properties)]
    done = CliRunner().invoke(app, [*run, "--json"])
    assert done.exit_code == 0 and not done.stderr
    printed = {each.pop("table"): each for each in json.loads(done.stdout)}
    assert printed["units"] == {"runs": 1, "files": 1, "added": 1, "removed": 0}
    assert CliRunner().invoke(app, run).stdout.splitlines()[0].split() == ["table", "runs", "files", "added", "removed"]


def refused(root: Root, *options: str) -> str:
    done = CliRunner().invoke(app, ["register", "--root", root.url, *options])
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("deconvoy: ")
    return f"{done.exit_code} {done.stderr}"


def test_what_a_catalog_lacks_is_one_line(plain, properties, tmp_path, monkeypatch):
    monkeypatch.setattr(registering, "list_catalogs", lambda: ["warehouse"])
    assert "2 deconvoy: no Iceberg catalog 'wharehouse' is configured; nearest: warehouse" in refused(
        plain, "--catalog", "wharehouse"
    )
    assert "2 deconvoy: --property 'uri' is not KEY=VALUE" in refused(plain, "--property", "uri")
    assert "2 deconvoy: Iceberg catalog 'test' cannot be opened" in refused(plain, *flags({"type": "sequel"}))
    nowhere = {**properties, "uri": f"sqlite:///{tmp_path}/no/where.db"}
    assert "unable to open database file" in refused(plain, *flags(nowhere))
    del properties["warehouse"]
    assert "1 deconvoy: table 'deconvoy.images' of the Iceberg catalog: No default path" in refused(
        plain, *flags(properties)
    )


@pytest.mark.parametrize("text", ["catalog: {a: b", "catalog: nothing"])
def test_a_configuration_of_pyiceberg_that_is_malformed_is_one_line(plain, tmp_path, text):
    (tmp_path / ".pyiceberg.yaml").write_text(text)
    environment = os.environ | {"PYICEBERG_HOME": str(tmp_path)}
    words = [sys.executable, "-m", "deconvoy", "register", "--root", plain.url]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("deconvoy: ")


def test_a_root_without_runs_leaves_a_catalog_as_it_is(target, tmp_path):
    empty = Root(str(tmp_path / "empty"))
    with pytest.raises(RunError, match="no published runs"):
        registering.register(empty, target, "fresh")
    assert not target.namespace_exists("fresh")
    target.create_namespace("mine")
    target.create_table("mine.other", pa.schema([("a", pa.int32())]))
    with pytest.raises(RunError, match="no published runs"):
        registering.register(empty, target, "mine")


def test_without_the_extra_the_command_is_one_line(plain, monkeypatch):
    monkeypatch.setattr(command, "find_spec", lambda _: None)
    assert refused(plain) == "2 deconvoy: pyiceberg is not installed: pip install 'deconvoy[iceberg]'\n"


def test_the_example_of_the_documents_works(tmp_path):
    section = DASHBOARDS.read_text().split("\n## Iceberg")[1].split("\n## ")[0]
    section = section.replace("deconvoy-demo/atlas", str(tmp_path / "root")).replace("/data", str(tmp_path))
    configuration, shell, code = re.findall(
        r"^```(?:yaml|console|python)\n(.*?)^```", section, re.MULTILINE | re.DOTALL
    )
    (tmp_path / ".pyiceberg.yaml").write_text(configuration)
    publish(Root(str(tmp_path / "root")), "demo", channels={**CHANNELS, "relu3": 5})
    arguments = shell.removeprefix("$ deconvoy ").split()
    where = {"cwd": tmp_path, "env": {**os.environ, "PYICEBERG_HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}}
    for words in (["-m", "deconvoy", *arguments], ["-c", code.replace("relu5", "relu3")]):
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, **where)
        assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6  # a head and five channels


def test_the_command_loads_no_pyiceberg_before_it_runs():
    code = "import sys, service.cli.main; sys.exit('pyiceberg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
