"""Notes on channels: written by command and over HTTP, shown in every run of the network, found, and gone when removed."""

import json
import re
from pathlib import Path

import duckdb
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

import deconvoy
from service.cli.main import app
from service.control import noting
from service.http.keys import Keys, Scope
from service.query import catalog, dialects, notes, sql
from service.query.dialects import Engine
from service.query.notes import NoteBook
from tests.support.asking import app_of, client_of, is_problem
from tests.support.published import commit_runs_row, publish
from workers.errors import DamagedFile, QueryError
from workers.store.root import Root


@pytest.fixture
def root(tmp_path) -> Root:
    root = Root(str(tmp_path))
    publish(root)
    publish(root, "second", "2026-11-24T02:00:00+00:00")
    publish(root, "other", model={"source": "deconvoy://none?weights=w.pt", "fingerprint": "other"})
    return root


@pytest.fixture
def client(root, cluster, clock) -> TestClient:
    return client_of(app_of(root, cluster, clock))


def told(*arguments: str, root: Root) -> str:
    done = CliRunner().invoke(app, [*arguments, "--root", root.url])
    assert done.exit_code == 0, done.stderr
    return done.stdout


def test_a_note_is_shown_in_all_runs_of_the_network_and_in_no_other(root, client):
    assert "note written" in told("note", "relu2", "3", "  whiskers,\n\tand ears ", root=root)
    for run in ("first", "second"):
        assert client.get(f"/runs/{run}/layers/relu2/channels/3.json").json()["note"] == "whiskers, and ears"
        cards = client.get(f"/runs/{run}/layers/relu2.json").json()["channels"]
        assert {card["channel"]: card["note"] for card in cards if card["note"]} == {3: "whiskers, and ears"}
    assert client.get("/runs/other/layers/relu2/channels/3.json").json()["note"] is None
    assert "whiskers, and ears" in client.get("/runs/first/layers/relu2").text


def test_the_search_finds_notes_written_since_it_was_asked(client):
    assert client.get("/search.json?q=whisker").json()["channels"] == []
    client.post("/api/v1/runs/first/notes", json={"layer": "relu2", "channel": 3, "text": "Whiskers"})
    found = client.get("/search.json?q=whisker").json()["channels"]
    assert {(match["run"], match["layer"], match["channel"], match["note"]) for match in found} == {
        (run, "relu2", 3, "Whiskers") for run in ("first", "second")
    }


def test_each_result_of_the_search_says_which_run_it_is_of(client):
    found = client.get("/search.json?q=cat").json()["channels"]
    names = {match["run"]: match["name"] for match in found}
    assert names == {
        "first": "none on photos, first",
        "second": "none on photos, second",
        "other": "none · w on photos",
    }
    cards = re.findall(r"<li>.*?</li>", client.get("/search?q=cat").text)
    assert cards and all(re.search(r'<small class="long">none.* on photos', card) for card in cards if "<img" in card)


def test_a_result_by_its_note_shows_the_words_of_the_note_and_no_share_of_labels(client):
    client.post("/api/v1/runs/first/notes", json={"layer": "relu2", "channel": 3, "text": "Whiskers"})
    assert re.search(r"<b>\d+ of \d+</b>", client.get("/search?q=cat").text)
    page = client.get("/search?q=whisker").text
    assert '<q class="long" title="Whiskers">Whiskers</q>' in page and not re.search(r"\d+ of \d+", page)


def test_a_note_is_replaced_and_removed(root, client):
    asked = {"layer": "relu2", "channel": 3}
    for text in ("ears", "whiskers"):
        answer = client.post("/api/v1/runs/second/notes", json=asked | {"text": text})
        assert [note["text"] for note in answer.json()] == [text]
    assert client.get("/api/v1/runs/first/notes").json() == answer.json()
    assert client.post("/api/v1/runs/second/notes", json=asked | {"text": " "}).json() == []
    assert json.loads(told("note", "relu2", "3", "", "--json", root=root))["note"] is None  # none is removed, too


def test_a_note_names_the_key_that_wrote_it_and_needs_one_that_may_submit(root, client):
    secrets = {scope: Keys(root).add(scope.value, scope) for scope in (Scope.READ, Scope.SUBMIT)}
    body = {"layer": "relu2", "channel": 3, "text": "ears"}

    def post(scope: Scope):
        headers = {"Authorization": f"Bearer {secrets[scope]}"}
        return client.post("/api/v1/runs/first/notes", json=body, headers=headers)

    assert post(Scope.READ).status_code == 403
    assert [note["by"] for note in post(Scope.SUBMIT).json()] == ["submit"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"layer": "relu9", "channel": 3, "text": "a"}, 404, "no layer 'relu9'"),
        ({"layer": "relu2", "channel": 99, "text": "a"}, 404, "no channel 99"),
        ({"layer": "relu2", "channel": 3, "text": "a" * 2001}, 404, "at most 2,000"),
    ],
)
def test_a_wrong_note_is_refused(client, body, status, words):
    assert is_problem(client.post("/api/v1/runs/first/notes", json=body), status, words)
    assert is_problem(client.post("/api/v1/runs/nothing/notes", json=body), 404, "nothing")


def test_hostile_layers_and_texts_are_only_names_and_words(tmp_path):
    root = Root(str(tmp_path))
    publish(root)
    run = catalog.find(root)
    with pytest.raises(QueryError, match="no layer"):
        noting.write(run, "../../x", 0, "a")
    assert notes.path("f", "a/../b.c", 3) == "notes/f/a%2F..%2Fb.c.3.json"
    noting.write(run, "relu1", 0, "<script>alert(1)</script>")
    assert NoteBook(root).of(run.fingerprint)["relu1", 0].text == "<script>alert(1)</script>"


def test_a_damaged_note_is_named(root):
    run = catalog.find(root)
    root.put(notes.path(run.fingerprint, "relu1", 0), b"{")
    with pytest.raises(DamagedFile, match=r"notes/none/relu1.0.json cannot be parsed: .*write the note again"):
        NoteBook(root).of(run.fingerprint)


def test_other_files_and_notes_on_other_networks_do_not_matter(root):
    first, other = (catalog.find(root, run) for run in ("first", "other"))
    noting.write(first, "relu1", 3, "ears", "")
    root.put(f"notes/{first.fingerprint}/.DS_Store", b"x")
    root.put(notes.path(other.fingerprint, "relu1", 0), b"{")
    assert [note.text for note in notes.of_run(first)] == ["ears"]
    with pytest.raises(DamagedFile):
        notes.of_run(other)
    root.delete(notes.path(other.fingerprint, "relu1", 0))
    assert NoteBook(root).of(first.fingerprint)["relu1", 3].text == "ears"
    assert sql.ask(root, "SELECT text FROM notes WHERE written_by IS NULL").rows == (("ears",),)


@pytest.fixture
def noted(root) -> Root:
    """A root with a note on each of three channels, one of another network, and texts that need quoting."""
    for run, layer, channel, text in (
        ("first", "relu2", 3, 'it\'s "ears"; é'),
        ("first", "relu1", 10, "Whiskers"),
        ("other", "relu2", 3, "wheels"),
    ):
        noting.write(catalog.find(root, run), layer, channel, text, "alice" if channel == 10 else "")
    return root


def test_the_notes_on_a_network_are_listed_and_searched(noted):
    rows = json.loads(told("query", "notes", "--run", "second", "--json", root=noted))
    assert [(row["layer"], row["channel"], row["text"], row["written_by"]) for row in rows] == [
        ("relu1", 10, "Whiskers", "alice"), ("relu2", 3, "it's \"ears\"; é", None)
    ]  # fmt: skip
    assert [row["text"] for row in json.loads(told("query", "notes", "--run", "other", "--json", root=noted))] == [
        "wheels"
    ]
    for words, channels in (
        (["WHISK"], [10]),
        (["--layer", "relu2"], [3]),
        (["--limit", "1"], [10]),
        (["nothing"], []),
    ):
        rows = json.loads(told("query", "notes", *words, "--run", "first", "--json", root=noted))
        assert [row["channel"] for row in rows] == channels
    lines = told("query", "notes", "--run", "first", root=noted).splitlines()
    assert lines[0].split() == ["layer", "channel", "note", "written,", "UTC", "key"] and "Whiskers" in lines[1]
    done = CliRunner().invoke(app, ["query", "notes", "--layer", "relu9", "--root", noted.url])
    assert done.exit_code == 2 and "no layer 'relu9'" in done.stderr


def test_sql_and_views_and_the_python_api_have_the_notes(noted):
    query = "SELECT model_fingerprint, layer, channel, text, written_at, written_by FROM notes ORDER BY ALL"
    expected = [tuple(vars(note).values()) for note in notes.read_all(noted)]
    assert len(expected) == 3 and sorted(expected) == list(sql.ask(noted, query).rows)
    assert sorted(expected) == list(sql.ask(noted, query, sql.Limits(unsafe=True)).rows)
    api = deconvoy.open(noted.url).run("second").notes
    assert [(note.layer, note.channel, note.text) for note in api] == [row[1:4] for row in expected if row[0] == "none"]
    for run in ("first", "second", "other"):
        commit_runs_row(noted, run)
    (Path(noted.base) / "runs" / "first" / "spec.json").write_text("neither a note nor JSON")
    for statements in (sql.views(noted), dialects.views(noted, Engine.DUCKDB)):
        with duckdb.connect() as connection:
            connection.execute(statements)
            assert connection.execute(query).fetchall() == sorted(expected)
            joined = "SELECT run, channel FROM notes JOIN runs USING (model_fingerprint) WHERE text = 'Whiskers' ORDER BY run"
            assert connection.execute(joined).fetchall() == [("first", 10), ("second", 10)]


def test_the_views_are_valid_before_the_first_note_and_have_it_then(root):
    for run in ("first", "second", "other"):
        commit_runs_row(root, run)
    with duckdb.connect() as connection:
        connection.execute(dialects.views(root, Engine.DUCKDB))
        assert connection.execute("FROM notes").fetchall() == [] == list(sql.ask(root, "FROM notes").rows)
        noting.write(catalog.find(root, "first"), "relu1", 0, "ears")
        assert connection.execute("SELECT text FROM notes").fetchall() == [("ears",)]


def test_a_damaged_note_only_stops_queries_that_read_notes(root):
    root.put(notes.path("none", "relu1", 0), b"{")
    assert sql.ask(root, "SELECT count(DISTINCT run) FROM units").rows == ((3,),)
    with pytest.raises(DamagedFile, match=r"relu1.0.json cannot be parsed"):
        sql.ask(root, "FROM notes")
