"""SQL over published runs: exactly the files of the manifests, whatever the root is called; one line for what is wrong."""

import json
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from service import sql
from service.cli import app
from tests.support.published import CHANNELS, publish
from workers.errors import DamagedRun, QueryError
from workers.store import paths
from workers.store.root import Root
from workers.store.schema import TABLES

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
    assert [row[0] for row in sql.ask(root, "SHOW TABLES").rows] == sorted(TABLES)
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
    with pytest.raises(QueryError, match="cannot be answered" if query else "is empty"):
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
    done = CliRunner().invoke(app, ["views", "--root", root.url, "-o", str(tmp_path / "v.sql")])
    assert done.exit_code == 0 and "CREATE OR REPLACE VIEW units" in (tmp_path / "v.sql").read_text()
    done = CliRunner().invoke(app, ["views", "--root", root.url, "-o", str(tmp_path / "no" / "v.sql")])
    assert done.exit_code == 2 and "cannot be written" in done.stderr


def test_a_run_with_a_missing_file_is_named_in_one_line(tmp_path):
    root = Root(str(tmp_path))
    publish(root)
    for part in (tmp_path / "tables" / "units" / "run=first").iterdir():
        part.unlink()
    with pytest.raises(DamagedRun, match=r"table 'units' of the published runs cannot be read: .*run=first"):
        sql.ask(root, "SELECT 1")


def test_a_run_without_its_row_in_runs_is_in_the_other_views(tmp_path):
    root = Root(str(tmp_path))
    publish(root)
    assert not root.files(paths.table_folder("runs", "first"))
    assert sql.ask(root, "SELECT count(*) FROM runs").rows == ((0,),)
    assert sql.ask(root, "SELECT count(DISTINCT run) FROM top").rows == ((1,),)
