"""The commands that ask published runs: what they print is what the tables hold; wrong words are one line and exit code 2."""

import json

import duckdb
import pytest
from typer.testing import CliRunner

from service.cli.main import app
from service.control import labelling
from service.query import catalog, dialects, sql
from service.query.dialects import Engine
from tests.support import instrumented
from tests.support.published import CHANNELS, DEAD, FIELDS, K, commit_runs_row, names, publish
from workers.errors import DamagedRun
from workers.store.root import Root

MIXED = [(f"{n:02d}.png", "dog" if n < 6 else "cat") for n in range(13)]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> str:
    root = Root(str(tmp_path_factory.mktemp("root")))
    publish(root)
    publish(root, "mixed", "2026-11-24T02:00:00+00:00", named=MIXED)
    instrumented.occlude(root)
    instrumented.invert(root)
    return root.base


def asked(root: str, *words: str, code: int = 0):
    result = CliRunner().invoke(app, ["query", *words, "--root", root])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def told(root: str, *words: str):
    return json.loads(asked(root, *words, "--json").stdout)


def labels_of(channel: int) -> list[str]:
    """Labels of the top images that wake a channel: those of images channel, channel + 1, ...; nothing wakes DEAD."""
    if channel == DEAD:
        return []
    return [MIXED[(channel + rank) % 12][1] for rank in range(K)]


def test_purity_is_the_share_of_the_commonest_label(root):
    rows = told(root, "units", "--layer", "relu1", "--sort", "purity", "--run", "mixed")
    assert [(row["label"], row["purity"]) for row in rows if row["dead"]] == [(None, 0.0)]
    for row in [row for row in rows if not row["dead"]]:
        labels = labels_of(row["channel"])
        assert row["label"] in labels and row["purity"] == pytest.approx(max(map(labels.count, labels)) / K)
        assert labels.count(row["label"]) == max(map(labels.count, labels))
    shares = [row["purity"] for row in rows]
    assert shares == sorted(shares, reverse=True) and len(rows) == CHANNELS["relu1"]


def test_units_can_be_cut_at_bounds_and_to_a_label(root):
    words = ("units", "--layer", "relu1", "--run", "mixed")
    whole = told(root, *words)
    some = told(root, *words, "--sort", "purity", "--at-least", "0.6", "--at-most", "0.7", "--label", "dog")
    expected = {row["channel"] for row in whole if 0.6 <= row["purity"] <= 0.7 and row["label"] == "dog"}
    assert {row["channel"] for row in some} == expected and expected
    assert [row["channel"] for row in told(root, *words, "--dead")] == [DEAD]
    assert len(told(root, *words, "--living")) == CHANNELS["relu1"] - 1
    for wrong in (["--at-least", "nan"], ["--at-least", "3", "--at-most", "2"], ["--label", "dgo"]):
        asked(root, *words, *wrong, code=2)


def test_a_label_that_no_two_images_share_is_no_common_one(tmp_path):
    root = Root(str(tmp_path))
    publish(root, named=[(f"{n}.png", f"label {n}") for n in range(13)])
    assert {(row["label"], row["purity"]) for row in told(root.base, "units", "--layer", "relu1")} == {(None, 0.0)}


def test_a_label_names_its_channels_of_all_layers_those_first_that_have_most(root):
    rows = told(root, "label", "dog", "--run", "mixed")
    expected = [
        (layer, channel, labels_of(channel).count("dog"))
        for layer in FIELDS
        for channel in range(CHANNELS[layer])
        if "dog" in labels_of(channel)
    ]
    assert sorted((row["layer"], row["channel"], row["images"]) for row in rows) == sorted(expected)
    counts = [row["images"] for row in rows]
    assert counts == sorted(counts, reverse=True) and {row["top"] for row in rows} == {K}
    assert (
        "no image of run 'mixed' has the label 'dgo'; nearest: dog"
        in asked(root, "label", "dgo", "--run", "mixed", code=2).stderr
    )


def test_what_instruments_found_of_an_image_is_told_with_its_run_and_row(root):
    rows = told(root, "results", names()[1][0])
    assert [(row["run"], row["row"]) for row in rows] == [("inverted", n) for n in (4, 5, 6, 7)] + [("covered", 1)]
    assert asked(root, "results", names()[1][0]).stdout.count("\n") == 6
    assert told(root, "results", f"/photos/{names()[1][0]}") == rows
    assert "contains image 'nothing.png'" in asked(root, "results", "nothing.png", code=2).stderr


def test_results_of_an_image_are_listed_though_the_newest_run_has_no_corpus(tmp_path):
    root = Root(str(tmp_path))
    instrumented.occlude(root)
    instrumented.filters(root)
    assert {row["run"] for row in told(root.base, "results", names()[1][0])} == {"covered"}


def test_a_report_is_one_file_that_asks_for_nothing(root, tmp_path):
    for run in ("first", "covered", "inverted"):
        path = tmp_path / f"{run}.html"
        result = CliRunner().invoke(app, ["report", run, "--root", root, "-o", str(path)])
        assert result.exit_code == 0, result.output
        text = path.read_text()
        assert "data:image/" in text and "http" not in text.replace("http-equiv", "") and 'src="/' not in text
    wrong = CliRunner().invoke(app, ["report", "first", "--root", root, "-o", str(tmp_path / "no" / "x.html")])
    assert wrong.exit_code == 2 and "cannot be written" in wrong.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("units", "--layer", "relu1"), "run mixed, the newest of 2 runs of kind scan; --run selects another\n"),
        (("units", "--layer", "relu1", "--run", "first"), ""),
    ],
)
def test_a_run_that_was_chosen_among_several_is_named(root, words, line):
    assert asked(root, *words).stderr == line


def test_an_only_run_is_not_named(tmp_path):
    publish(Root(str(tmp_path)))
    assert asked(str(tmp_path), "units", "--layer", "relu1").stderr == ""


def test_a_sheet_of_a_root_with_several_kinds_needs_a_run(root, tmp_path):
    [line] = asked(root, "sheet", "-o", str(tmp_path / "s.png"), code=2).stderr.splitlines()
    runs = "inverted (invert), covered (occlude), mixed (scan)"
    assert line == f"deconvoy: root {root!r} has runs of several kinds: give --run, such as {runs}"


def test_purity_and_selectivity_in_sql_and_in_written_views_is_that_of_the_command(tmp_path):
    root = Root(str(tmp_path))
    runs = {
        "mixed": MIXED,
        "unlabelled": [(f"{n}.png", None if n % 3 == 0 else "cat" if n % 2 else "dog") for n in range(13)],
        "distinct": [(f"{n}.png", f"label {n}") for n in range(13)],
    }
    for run, named in runs.items():
        publish(root, run, named=named)
        commit_runs_row(root, run)
    publish(root, "single", k=1, named=MIXED)
    commit_runs_row(root, "single")
    with duckdb.connect() as pinned, duckdb.connect() as following:
        pinned.execute(sql.views(root))
        following.execute(dialects.views(root, Engine.DUCKDB))
        for run in (*runs, "single"):
            rows = told(root.base, "units", "--layer", "relu1", "--run", run)
            values = (
                (row["channel"], row["label"], *(pytest.approx(row[name]) for name in ("purity", "selectivity")))
                for row in rows
            )
            expected = list(values)
            where = f"run = '{run}' AND layer = 'relu1'"
            query = f"SELECT channel, label, purity, selectivity FROM purity WHERE {where} ORDER BY channel"  # noqa: S608
            assert list(sql.ask(root, query).rows) == expected
            assert list(sql.ask(root, query, sql.Limits(unsafe=True)).rows) == expected
            assert pinned.execute(query).fetchall() == following.execute(query).fetchall() == expected
            assert any(row["selectivity"] for row in rows)
            assert any(row["purity"] for row in rows) is (run != "distinct") and len(rows) == CHANNELS["relu1"]


def test_purity_in_sql_follows_new_labels_and_checks_the_files_that_it_reads(tmp_path):
    root = Root(str(tmp_path))
    publish(root, named=MIXED)
    (tmp_path / "labels.csv").write_text("image_id,label\n" + "".join(f"{name},fox\n" for name, _ in MIXED[:12]))
    labelling.relabel(catalog.find(root), str(tmp_path / "labels.csv"))
    assert sql.ask(root, "SELECT DISTINCT label, purity FROM purity WHERE purity > 0").rows == (("fox", 1.0),)
    [file] = (tmp_path / "tables" / "top" / "run=first").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DamagedRun, match="run 'first'"):
        sql.ask(root, "FROM purity")
