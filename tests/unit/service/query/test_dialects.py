"""Views for other engines: answered by a DuckDB of one's own while runs come and go, and read by a parser of each dialect."""

import csv
import re

import duckdb
import pytest
import sqlglot
from sqlglot import exp
from typer.testing import CliRunner

from service.cli.main import app
from service.control import labelling
from service.query import catalog, dialects
from service.query.dialects import Engine
from tests.support.published import CHANNELS, commit_runs_row, publish
from workers.errors import UsageError
from workers.store.root import Root
from workers.store.tables.registry import TABLES

PARSERS = {Engine.TRINO: "trino", Engine.ATHENA: "athena", Engine.BIGQUERY: "bigquery", Engine.SPARK: "spark"}


@pytest.fixture(params=["root", "it's [a] *b? {c}"])
def root(request, tmp_path) -> Root:
    root = Root(str(tmp_path / request.param))
    for run, created in (("first", "2026-11-23T02:00:00+00:00"), ("second", "2026-11-24T02:00:00+00:00")):
        publish(root, run, created)
        commit_runs_row(root, run)
    return root


def counts(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    return dict(connection.execute("SELECT run, count(*) FROM units GROUP BY run").fetchall())


def test_views_follow_runs_that_are_published_and_removed(root):
    every = sum(CHANNELS.values())
    publish(root, "unfinished")  # its row in `runs` is still missing
    with duckdb.connect() as connection:
        connection.execute(dialects.views(root, Engine.DUCKDB))
        assert counts(connection) == {"first": every, "second": every}
        CliRunner().invoke(app, ["rm", "first", "--root", root.url], catch_exceptions=False)
        assert counts(connection) == {"second": every}
        commit_runs_row(root, "unfinished")
        assert counts(connection) == {"second": every, "unfinished": every}
        tables = {name for (name,) in connection.execute("SHOW TABLES").fetchall()}
        assert {"runs", "units", "top", "patches"} <= tables


def test_views_have_the_labels_that_runs_were_given(root, tmp_path):
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image_id", "label"), ("cat0/000.png", "tiger")])
    labelling.relabel(catalog.find(root, "first"), str(tmp_path / "labels.csv"))
    query = "SELECT run, label FROM {} WHERE image_id = 'cat0/000.png' GROUP BY ALL ORDER BY run"
    with duckdb.connect() as connection:
        connection.execute(dialects.views(root, Engine.DUCKDB))
        assert connection.execute(query.format("top")).fetchall() == [("first", "tiger"), ("second", "cat")]
        assert connection.execute(query.format("top_as_scanned")).fetchall() == [("first", "cat"), ("second", "cat")]
        labelling.reset(root, "first")
        assert connection.execute(query.format("top")).fetchall() == [("first", "cat"), ("second", "cat")]
        described = connection.execute("DESCRIBE top").fetchall()
        assert {row[0] for row in described} == {*TABLES["top"].schema.names, "run"}


@pytest.mark.parametrize("engine", PARSERS)
def test_statements_are_those_of_the_engines_language(engine, monkeypatch, root):
    scheme = {Engine.ATHENA: "s3", Engine.BIGQUERY: "gs"}.get(engine, "s3")
    monkeypatch.setattr(dialects, "_location", lambda *_: f"{scheme}://bucket/atlas/tables")
    text = dialects.views(root, engine)
    statements = [line for line in text.splitlines() if not line.startswith("--")]
    parsed = [sqlglot.parse_one(line.removesuffix(";"), dialect=PARSERS[engine]) for line in statements]
    made = {each.find(exp.Table).name for each in parsed if isinstance(each, exp.Create)}
    external = {
        line.split()[5] for line in statements if line.startswith("CREATE OR REPLACE EXTERNAL TABLE")
    }  # not parsed
    known = {"runs", "units", "top", "patches", "images", "rejects", "previews", "predictions"}
    assert made | external == known | {"purity"} | {f"{name}_files" for name in known - {"runs"}}
    others = [line for line in statements if line.startswith(("CALL", "MSCK"))]
    assert len(statements) == len(made | external) + len(others)
    assert len(others) == (len(known) if engine in (Engine.TRINO, Engine.ATHENA) else 0)


def test_types_of_columns_are_the_tables_own(monkeypatch, root):
    monkeypatch.setattr(dialects, "_location", lambda *_: "s3://bucket/atlas/tables")
    text = dialects.views(root, Engine.TRINO)
    [units] = [line for line in text.splitlines() if line.startswith("CREATE TABLE IF NOT EXISTS units_files")]
    for column in (
        '"channel" integer',
        '"images" bigint',
        '"max" real',
        '"mean" double',
        '"dead" boolean',
        '"layer" varchar',
    ):
        assert column in units
    assert '"bins" array(integer)' in units and '"counts" array(bigint)' in units
    [patches] = [line for line in text.splitlines() if line.startswith("CREATE TABLE IF NOT EXISTS patches_files")]
    assert '"patch" row(bytes varbinary, path varchar)' in patches


@pytest.mark.parametrize(
    ("engine", "words"), [("athena", "only roots at s3://"), ("bigquery", "only roots at gs:// or gcs://")]
)
def test_an_engine_that_cannot_read_the_root_is_refused(root, engine, words):
    with pytest.raises(UsageError, match=words):
        dialects.views(root, Engine(engine))


def test_paths_are_escaped_as_spark_reads_them(root):
    text = dialects.views(root, Engine.SPARK)
    [path] = re.findall(r"VIEW runs .*OPTIONS \(path '((?:[^'\\]|\\.)*)'", text)
    pattern = re.sub(r"\\(.)", r"\1", path)  # the literal's value
    assert re.sub(r"\\(.)", r"\1", pattern) == f"file://{root.url}/tables/runs"
    assert not re.search(r"(?<!\\)[*?\[\]{}]", pattern)


def test_spark_cannot_read_a_pattern_with_a_colon(tmp_path):
    publish(root := Root(str(tmp_path / "[a]:b")))
    with pytest.raises(UsageError, match=r"spark cannot read root '.*': a path with any of .* must not contain ':'"):
        dialects.views(root, Engine.SPARK)


def test_the_name_of_a_root_does_not_end_a_comment(tmp_path):
    publish(root := Root(str(tmp_path / "a\nb")))
    assert dialects.views(root, Engine.SPARK).startswith(f"-- The published runs under {tmp_path}/a\\nb, for spark.\n")


def test_wrong_options_are_one_line(root, tmp_path):
    for options, words in (
        (["--for", "oracle"], "--for 'oracle' is not a known engine; available: duckdb"),
        (["--for", "spark", "--pinned"], "--pinned is for DuckDB; omit it with --for spark"),
    ):
        done = CliRunner().invoke(app, ["views", "--root", root.url, "-o", str(tmp_path / "v.sql"), *options])
        assert done.exit_code == 2 and words in done.stderr and done.stderr.count("\n") == 1
