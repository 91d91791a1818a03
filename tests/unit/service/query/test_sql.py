"""SQL over published runs: exactly the files of the manifests, whatever the root is called; one line for what is wrong."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from service.cli.main import app
from service.query import catalog, checking, sql, sql_files
from tests.support.published import CHANNELS, publish
from workers.errors import DamagedRun, QueryError
from workers.store import documents, files, paths
from workers.store.root import Root
from workers.store.tables.registry import TABLES

HOSTILE = "it's [a] *b? {c}"


@pytest.fixture(scope="module", params=["root", HOSTILE])
def root(request, tmp_path_factory) -> Root:
    root = Root(str(tmp_path_factory.mktemp("place") / request.param))
    publish(root)
    publish(root, "second", "2026-11-24T02:00:00+00:00")
    # A run that is not published, whose file lies in the same folder tree.
    [part] = (Path(root.base) / "tables" / "units" / "run=first").iterdir()
    stray = Path(root.base) / "tables" / "units" / "run=third" / part.name
    stray.parent.mkdir()
    stray.write_bytes(part.read_bytes())
    return root


def test_views_hold_published_runs_and_no_other(root):
    answer = sql.ask(root, "SELECT run, count(*) FROM units GROUP BY run ORDER BY run")
    assert answer.rows == (("first", sum(CHANNELS.values())), ("second", sum(CHANNELS.values())))


def test_every_table_can_be_asked_and_those_of_no_run_have_columns_and_no_row(root):
    assert [row[0] for row in sql.ask(root, "SHOW TABLES").rows] == sorted([*TABLES, "notes", "purity"])
    for name, table in TABLES.items():
        answer = sql.ask(root, f"FROM {name} LIMIT 0")
        assert answer.columns[-1] == "run"
        assert set(table.schema.names) | {"run"} == set(answer.columns)
    assert sql.ask(root, "SELECT count(*) FROM occlusions").rows == ((0,),)


def test_the_written_views_answer_in_a_duckdb_of_ones_own(root):
    with duckdb.connect() as connection:
        connection.execute(sql.views(root))
        assert connection.execute("SELECT count(DISTINCT run) FROM patches").fetchall() == [(2,)]


def test_a_root_in_memory_can_be_asked():
    root = Root("memory://deconvoy-sql")
    publish(root)
    assert sql.ask(root, "SELECT DISTINCT run FROM top").rows == (("first",),)


@pytest.mark.parametrize("query", ["SELEC", "SELECT nothing FROM units", "SELECT * FROM nowhere", ""])
def test_a_wrong_question_is_one_line(root, query):
    with pytest.raises(QueryError, match="the query failed" if query else "is empty"):
        sql.ask(root, query)
    done = CliRunner().invoke(app, ["sql", query, "--root", root.url])
    assert done.exit_code == 2 and done.stderr.count("\n") == 1 and done.stderr.startswith("deconvoy: ")


def test_the_command_prints_rows_or_json_with_pictures_as_their_sizes(root):
    query = "SELECT channel, rank, patch.bytes AS patch, 'nan'::FLOAT AS odd, channel FROM patches ORDER BY ALL LIMIT 2"
    told = json.loads(CliRunner().invoke(app, ["sql", query, "--root", root.url, "--json"]).stdout)
    assert [list(row) for row in told] == [["channel", "rank", "patch", "odd", "channel_1"]] * 2
    assert told[0]["patch"].endswith(" bytes") and told[0]["odd"] is None
    assert "channel" in CliRunner().invoke(app, ["sql", query, "--root", root.url]).stdout


def test_views_are_written_to_a_file_or_refused_in_one_line(root, tmp_path):
    done = CliRunner().invoke(app, ["views", "--pinned", "--root", root.url, "-o", str(tmp_path / "v.sql")])
    assert done.exit_code == 0 and "CREATE OR REPLACE VIEW units" in (tmp_path / "v.sql").read_text()
    done = CliRunner().invoke(app, ["views", "--root", root.url, "-o", str(tmp_path / "no" / "v.sql")])
    assert done.exit_code == 2 and "cannot be written" in done.stderr


def test_a_run_with_a_missing_file_is_named_in_one_line_where_there_is_no_other(tmp_path):
    root = Root(str(tmp_path))
    publish(root)
    for part in (tmp_path / "tables" / "units" / "run=first").iterdir():
        part.unlink()
    with pytest.raises(DamagedRun, match=r"run 'first': tables/units/run=first/part-00000-\w+.parquet is missing"):
        sql.ask(root, "SELECT 1")


def test_a_run_without_its_row_in_runs_is_in_the_other_views(tmp_path):
    root = Root(str(tmp_path))
    publish(root)
    assert not root.files(paths.table_folder("runs", "first"))
    assert sql.ask(root, "SELECT count(*) FROM runs").rows == ((0,),)
    assert sql.ask(root, "SELECT count(DISTINCT run) FROM top").rows == ((1,),)


@pytest.fixture
def two(tmp_path, monkeypatch) -> Root:
    """A root of two runs, and a home of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = Root(str(tmp_path / "root"))
    publish(root)
    publish(root, "second", "2026-11-24T02:00:00+00:00")
    return root


def part(root: Root, table: str, run: str) -> Path:
    [path, *_] = sorted((Path(root.base) / "tables" / table / f"run={run}").iterdir())
    return path


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


@pytest.mark.parametrize("trials", [25, pytest.param(250, marks=pytest.mark.slow)])
def test_a_flipped_bit_never_gives_other_numbers(two, trials):
    query = "SELECT * FROM units ORDER BY ALL"
    right, path = sql.ask(two, query).rows, part(two, "units", "first")
    data = path.read_bytes()
    for bit in random.Random(0).sample(range(len(data) * 8), trials):
        flip(path, bit)
        answer = sql.ask(two, query)
        path.write_bytes(data)
        assert {row[-1] for row in answer.rows} == {"second"}, bit
    os.utime(path, (0, 0))
    assert sql.ask(two, query).rows == right


@pytest.mark.parametrize("harm", ["missing", "cut", "flipped", "manifest", "checksum", "row"])
def test_a_damaged_run_is_named_and_left_out_and_the_others_answer(two, harm, tmp_path):
    manifest = Path(two.path(paths.manifest_path("first")))
    two.put(paths.checksum_path("first"), documents.checksum(manifest.read_bytes()))
    if harm == "missing":
        part(two, "top", "first").unlink()
    elif harm == "cut":
        part(two, "top", "first").write_bytes(b"PAR1")
    elif harm == "flipped":
        flip(part(two, "units", "first"), 1000)
    elif harm == "manifest":
        manifest.write_bytes(b"")
    elif harm == "checksum":
        manifest.write_bytes(manifest.read_bytes().replace(b'"images": 12', b'"images": 13'))
    else:
        two.put("tables/runs/run=first/part-00000-0123456789abcdef.parquet", b"another one's")
    done = CliRunner().invoke(app, ["sql", "SELECT DISTINCT run FROM units", "--root", two.base, "--json"])
    assert done.exit_code == 0 and json.loads(done.stdout) == [{"run": "second"}]
    assert done.stderr.count("\n") == 1 and "run 'first'" in done.stderr and "left out" in done.stderr
    assert "deconvoy verify first" in done.stderr or "deconvoy rm first" in done.stderr
    done = CliRunner().invoke(app, ["views", "--pinned", "--root", two.base, "-o", str(tmp_path / "v.sql")])
    written = (tmp_path / "v.sql").read_text()
    assert done.exit_code == 0 and "run=first" not in written.replace("-- Left out: ", "").partition("\nCREATE")[2]
    assert "-- Left out: run 'first'" in written or harm == "manifest"
    with duckdb.connect() as connection:
        connection.execute(written)
        assert connection.execute("SELECT DISTINCT run FROM units").fetchall() == [("second",)]


def test_only_the_tables_that_a_query_names_are_hashed_and_each_file_once(two, monkeypatch):
    read: list[str] = []
    content = files.content
    monkeypatch.setattr(files, "content", lambda root, path: (read.append(path), content(root, path))[1])
    sql.ask(two, "SELECT count(*) FROM Units")
    assert {path.split("/")[1] for path in read} == {"units"} and len(read) == 2
    sql.ask(two, "SELECT max(mean) FROM units JOIN top USING (run, layer, channel)")
    assert [path.split("/")[1] for path in read[2:]] == ["top"] * (len(read) - 2) and len(read) > 2
    read.clear()
    sql.ask(two, "FROM units SEMI JOIN top USING (channel)")
    assert not read
    os.utime(part(two, "units", "first"))
    sql.ask(two, "FROM units")
    assert len(read) == 1


def test_a_cache_of_hashes_is_lists_by_path_and_is_read_so(two, tmp_path, monkeypatch):
    sql.ask(two, "FROM units")
    [kept] = (tmp_path / "cache" / "deconvoy").iterdir()
    lists = json.loads(kept.read_text())
    path = str(part(two, "units", "first").relative_to(two.base))
    content = files.content(two, path)
    assert lists[path][1:] == [content.bytes, content.sha256] and kept.read_text() == json.dumps(lists)
    monkeypatch.setattr(files, "content", lambda *_: pytest.fail("a file was hashed again"))
    assert sql.ask(two, "SELECT count(*) FROM units").rows


def test_hashes_are_kept_outside_of_the_root_and_a_query_needs_no_home(two, tmp_path, monkeypatch):
    before = set(Path(two.base).rglob("*"))
    sql.ask(two, "FROM units")
    [kept] = (tmp_path / "cache" / "deconvoy").iterdir()
    assert set(Path(two.base).rglob("*")) == before
    for damage in ("", "[]", '{"a": 1}'):
        kept.write_text(damage)
        assert sql.ask(two, "SELECT count(*) FROM units").rows
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert sql.ask(two, "SELECT count(*) FROM units").rows


ESCAPES = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('{part}')",
    "SELECT * FROM read_parquet('{part}')",
    "SELECT * FROM parquet_metadata('{part}')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "FROM '/etc/passwd'",
    "FROM '{part}'",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM read_csv('/dev/stdin')",
    "SELECT * FROM read_parquet('https://example.com/x.parquet')",
    "SELECT * FROM read_parquet('s3://bucket/x.parquet')",
    "COPY (SELECT 1) TO '{here}/out.csv'",
    "COPY (SELECT 1) TO '{part}'",
    "COPY (SELECT 1) TO '{part}' (USE_TMP_FILE false)",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{here}/out.csv'",
    "COPY units FROM '/etc/passwd'",
    "EXPORT DATABASE '{here}/out'",
    "IMPORT DATABASE '{here}'",
    "ATTACH '{here}/out.db'",
    "ATTACH ':memory:' AS other; ATTACH '{here}/out.db'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "CREATE SECRET key (TYPE s3)",
    "SELECT getenv('HOME')",
    "SELECT * FROM secret_of_the_caller",
    "SET enable_external_access = true",
    "SET memory_limit = '1TB'",
    "RESET memory_limit",
    "PRAGMA memory_limit = '1TB'",
    "SET temp_directory = '{here}'",
    "SET allowed_directories = ['/']",
    "SET lock_configuration = false",
    "PRAGMA enable_profiling = 'json'; SET profiling_output = '{here}/out.json'",
    "CALL enable_logging(storage = 'file', storage_path = '{here}')",
    "SELECT * FROM duckdb_secrets()",
    "PREPARE p AS COPY (SELECT 1) TO '{here}/out.csv'; EXECUTE p",
    "SELECT * FROM query('COPY (SELECT 1) TO ''{here}/out.csv''')",
]


@pytest.mark.parametrize("escape", ESCAPES)
def test_a_query_reaches_the_published_tables_and_nothing_else(two, escape, tmp_path, monkeypatch):
    secret_of_the_caller = pa.table({"a": [1]})  # what DuckDB would find in a frame
    assert len(secret_of_the_caller) == 1
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = part(two, "units", "first")
    data = path.read_bytes()
    with pytest.raises(QueryError, match="the query failed") as refused:
        sql.ask(two, escape.format(part=path, here=tmp_path / "here"))
    assert "\n" not in str(refused.value)
    assert not list((tmp_path / "here").iterdir()) and path.read_bytes() == data


def test_a_query_with_unsafe_may_read_files(two):
    path = part(two, "units", "first")
    answer = sql.ask(two, f"SELECT count(*) FROM read_parquet('{path}')", sql.Limits(unsafe=True))  # noqa: S608 - ours
    assert answer.rows == ((sum(CHANNELS.values()),),)
    assert sql.ask(two, "SELECT count(DISTINCT run) FROM units", sql.Limits(unsafe=True)).rows == ((2,),)
    assert "--unsafe allows this" in CliRunner().invoke(app, ["sql", f"FROM '{path}'", "--root", two.base]).stderr or (
        "does not exist" in CliRunner().invoke(app, ["sql", f"FROM '{path}'", "--root", two.base]).stderr
    )


def test_a_query_has_limits_of_time_and_of_memory_and_says_which_flag_lifts_them(two):
    begun = time.monotonic()
    with pytest.raises(QueryError, match=r"took longer than 0.5 s; simplify it, or raise --timeout"):
        sql.ask(two, "SELECT sum(a.i * b.i) FROM range(10000000) a(i), range(1000000) b(i)", sql.Limits(timeout_s=0.5))
    assert time.monotonic() - begun < 20
    with pytest.raises(QueryError, match=r"Out of Memory.*; select fewer rows or columns, or raise --memory"):
        sql.ask(two, "SELECT list(i) FROM range(100000000) t(i)", sql.Limits(memory="100MB"))
    with pytest.raises(QueryError, match="the query failed"):
        sql.ask(two, "FROM units", sql.Limits(memory="plenty"))
    done = CliRunner().invoke(
        app, ["sql", "FROM units LIMIT 1", "--root", two.base, "--memory", "1GB", "--timeout", "9"]
    )
    assert done.exit_code == 0


@pytest.mark.parametrize("run", ["runs", "tables", "first"])
def test_a_manifest_that_was_changed_is_found_whatever_its_run_is_called(run, tmp_path):
    root = Root(str(tmp_path / "runs" / "tables"))
    publish(root, run)
    publish(root, "other")
    manifest = root.read(paths.manifest_path(run))
    root.put(paths.checksum_path(run), documents.checksum(manifest))
    assert checking.find_intact(root, catalog.runs(root), ["units"])[1] == {}
    root.put(paths.manifest_path(run), manifest.replace(b'"images": 12', b'"images": 13'))
    assert list(checking.find_intact(root, catalog.runs(root), ["units"])[1]) == [run]
    assert list(catalog.marks(root)) == sorted([run, "other"])
    assert sql.ask(root, "SELECT DISTINCT run FROM units").rows == (("other",),)


@pytest.mark.parametrize("gone", ["manifest", "part", "part while it is read"])
def test_a_run_that_is_being_removed_is_left_out_of_the_answer(gone, tmp_path, monkeypatch):
    root = Root(str(tmp_path / "root"))
    publish(root)
    publish(root, "other")
    root.put(paths.checksum_path("first"), documents.checksum(root.read(paths.manifest_path("first"))))
    runs, [first, *_] = catalog.runs(root), [part.path for part in catalog.find(root, "first").tables["units"]]
    if gone == "part while it is read":
        content = files.content
        monkeypatch.setattr(files, "content", lambda place, path: (place.delete(first), content(place, path))[1])
    else:
        root.delete(first if gone == "part" else paths.manifest_path("first"))
    whole, wrong = checking.find_intact(root, runs, ["units"])
    assert [run.run for run in whole] == ["other"] and list(wrong) == ["first"]
    assert ("is missing" in wrong["first"]) or wrong["first"] == "a file was removed while it was being read"


ANSWERS = [
    "SELECT i FROM range(300000000) t(i)",
    "SELECT [i, i + 1, i + 2], {'a': i::VARCHAR} FROM range(300000000) t(i)",
]


@pytest.mark.parametrize("query", ANSWERS)
@pytest.mark.parametrize("words", [[], ["--json"]])
def test_an_answer_takes_no_more_memory_than_a_query_may_and_says_what_to_do(two, query, words):
    usual = peak(["sql", "SELECT 1", "--root", two.base, *words])[0]
    used, error = peak(["sql", query, "--root", two.base, "--memory", "100MB", *words])
    assert "the result takes more than 100MB, after" in error and "add LIMIT" in error
    assert "raise --memory" in error and error.count("\n") == 1
    assert used - usual < 2 * 100e6


def test_a_large_answer_within_the_limit_is_whole(two):
    rows = sql.ask(two, "SELECT i FROM range(100000) t(i)", sql.Limits(memory="100MB")).rows
    assert rows == tuple((number,) for number in range(100_000))


def peak(words: list[str]) -> tuple[int, str]:
    """The most memory that a command has used, in bytes, and its standard error."""
    code = (
        "import atexit, pathlib; from service.cli.main import main;"
        "atexit.register(lambda: print(pathlib.Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120, check=False
    )
    return int(done.stdout.split()[-1]) * 1024, done.stderr


COUNTS = "SELECT layer, count(*) AS channels FROM units WHERE run = 'first' GROUP BY layer ORDER BY layer"


@pytest.mark.parametrize("name", ["counts.csv", "counts.parquet", "COUNTS.CSV"])
def test_a_result_is_written_to_a_file(root, tmp_path, name):
    shown = CliRunner().invoke(app, ["sql", COUNTS, "--root", root.url, "-o", str(tmp_path / name)])
    assert shown.exit_code == 0, shown.output
    assert shown.output == f"{tmp_path / name}  {len(CHANNELS)} rows\n"
    table = pyarrow.csv.read_csv(tmp_path / name) if name.lower().endswith("csv") else pq.read_table(tmp_path / name)
    assert table.to_pylist() == [{"layer": layer, "channels": CHANNELS[layer]} for layer in sorted(CHANNELS)]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_pictures_and_empty_results_are_written_to_parquet(root, tmp_path):
    rows = sql_files.write(root, "FROM patches WHERE run = 'first'", tmp_path / "patches.parquet", sql.Limits())
    assert rows == pq.read_table(tmp_path / "patches.parquet").num_rows > 0
    assert sql_files.write(root, "FROM patches WHERE false", tmp_path / "none.parquet", sql.Limits()) == 0
    assert pq.read_schema(tmp_path / "none.parquet").names[-1] == "run"


@pytest.mark.parametrize(
    ("query", "name", "line"),
    [
        (COUNTS, "counts.txt", r"counts.txt' ends in neither .csv nor .parquet"),
        (
            "FROM patches",
            "patches.csv",
            r"column 'patch' has pictures or lists, which CSV cannot store; select other columns",
        ),
        (
            "SELECT INTERVAL 1 DAY AS span",
            "a.csv",
            r"^.csv cannot hold a column of the result: .*; cast it, for example to VARCHAR$",
        ),
        ("SELECT INTERVAL 1 DAY AS span", "a.parquet", r"^.parquet cannot hold a column of the result: .*; cast it"),
        ("SELEC 1", "a.csv", r"the query failed: Parser Error"),
        ("SET threads = 1", "a.csv", r"the query failed|returns no table"),
        ("SELECT 1 / (i - 20000)::INT, error('late') FROM range(30000) t(i)", "a.csv", r"the query failed: .*late"),
    ],
)
def test_a_query_that_cannot_be_written_is_one_line_and_leaves_no_file(root, tmp_path, query, name, line):
    with pytest.raises(QueryError, match=line) as error:
        sql_files.write(root, query, tmp_path / name, sql.Limits())
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_a_query_that_is_written_has_a_time_limit(root, tmp_path):
    endless = "SELECT count(*) FROM range(100000000000) a, range(1000000) b"
    with pytest.raises(QueryError, match=r"^the query took longer than 0.3 s; simplify it, or raise --timeout$"):
        sql_files.write(root, endless, tmp_path / "a.csv", sql.Limits(timeout_s=0.3))


def test_a_file_that_cannot_be_written_is_one_line(root, tmp_path):
    shown = CliRunner().invoke(app, ["sql", COUNTS, "--root", root.url, "-o", str(tmp_path / "none" / "a.csv")])
    assert shown.exit_code == 2 and "cannot be written: No such file or directory" in shown.output


@pytest.mark.parametrize("query", ["DESCRIBE units", "desc UNITS;"])
def test_described_tables_have_the_documentation_of_their_columns(root, query):
    answer = sql.ask(root, query)
    docs = {name: doc for name, _, doc in answer.rows}
    assert answer.columns == ("column_name", "column_type", "doc")
    assert docs["active_share"] == TABLES["units"].schema.field("active_share").metadata[b"doc"].decode() != ""
    assert list(docs) == [*TABLES["units"].schema.names, "run"] and all(docs.values())
