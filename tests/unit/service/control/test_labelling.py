"""Labels that a published run is given afterwards: every reader shows them, and published files stay as they are."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from typer.testing import CliRunner, Result

import deconvoy
from service.atlas.atlas import Atlas
from service.cli.main import app
from service.cli.submissions import schedules_of
from service.control.housekeeping import Housekeeping
from service.control.labelling import Relabelling, relabel, reset
from service.query import catalog, labels, reading, scans, sql
from service.query.layers import read_layer
from service.query.telling import read_overview
from service.query.verifying import verify_runs
from tests.support.published import IMAGES, names, publish
from workers.errors import CorpusError, DamagedRun, QueryError, RunError
from workers.store import labels as store_labels
from workers.store import paths
from workers.store.root import Root
from workers.store.tables.scan import TOP
from workers.store.tables.shared import IMAGES as IMAGE_TABLE
from workers.store.tables.shared import LABELS
from workers.store.verify import FileProblem

IDS = [name for name, _ in names()][:IMAGES]
DOGS = {IDS[0]: "dog", IDS[3]: "dog", IDS[4]: "dog"}


@pytest.fixture
def root(tmp_path):
    published = Root(str(tmp_path / "datasets"))
    publish(published)
    publish(published, "second")
    return published


@pytest.fixture
def give(root, tmp_path):
    """Gives the run `first` labels."""

    def run(given: dict[str, str], **more) -> Relabelling:
        place = tmp_path / "labels.csv"
        place.write_text("image_id,label\n" + "".join(f"{name},{label}\n" for name, label in given.items()))
        return relabel(catalog.find(root, "first"), str(place), **more)

    return run


def expected(given: dict[str, str | None]) -> dict[str, str | None]:
    """The label of every image of a run, by id."""
    return dict.fromkeys(IDS, "cat") | given


def stored(root: Root, run: str, table: str) -> list[Path]:
    return sorted(Path(root.path(paths.table_folder(table, run))).glob("*.parquet"))


def labels_in(root: Root, table, run: str = "first") -> dict[str, str | None]:
    rows = reading.read(catalog.find(root, run), table, pc.scalar(True), ["label", "image_id"])
    return dict(zip(rows["image_id"].to_pylist(), rows["label"].to_pylist(), strict=True))


def damaged(root: Root) -> list[FileProblem]:
    """What `verify` finds damaged, except for the row of `runs`, which these runs do not have."""
    return [
        finding
        for finding in verify_runs(root, "first")["first"]
        if finding.damage and "tables/runs" not in finding.path
    ]


def files_below(root: Root) -> list[Path]:
    return sorted(path for path in Path(root.base).rglob("*") if path.is_file())


def test_every_table_is_read_with_the_new_labels_and_no_published_file_changes(root, give):
    before = {path: path.read_bytes() for path in files_below(root)}
    assert give(DOGS) == Relabelling("first", images=3, unknown=0, labelled=3)
    assert {path: path.read_bytes() for path in before} == before
    assert labels_in(root, IMAGE_TABLE) == expected(DOGS)
    assert labels_in(root, TOP).items() <= expected(DOGS).items() and "dog" in labels_in(root, TOP).values()
    assert set(labels_in(root, IMAGE_TABLE, "second").values()) == {"cat"}  # of another run


def test_the_columns_keep_their_order_and_a_row_of_its_own_has_the_label_too(root, give):
    give(DOGS)
    run = catalog.find(root, "first")
    columns = ["label", "score", "image_id"]
    table = reading.read(run, TOP, pc.field("score") > 0, columns)
    assert table.column_names == columns
    assert reading.read(run, TOP, pc.scalar(True), {"label": pc.field("label")}).column_names == ["label"]
    for number in range(9):
        alone = reading.row(run, TOP, number, columns)
        assert list(alone) == columns and alone["label"] == expected(DOGS)[alone["image_id"]]


def test_filters_and_expressions_see_the_new_labels(root, give):
    give(DOGS)
    run = catalog.find(root, "first")
    is_dog = pc.field("label") == "dog"
    assert set(reading.read(run, IMAGE_TABLE, is_dog, ["image_id"])["image_id"].to_pylist()) == set(DOGS)
    assert reading.read(run, IMAGE_TABLE, ~is_dog, ["image_id"]).num_rows == IMAGES - len(DOGS)
    rows = reading.read(run, TOP, pc.field("rank") == 0, {"dog": is_dog, "who": pc.field("image_id")}).to_pylist()
    assert rows and all(row["dog"] == (row["who"] in DOGS) for row in rows)
    patches = deconvoy.open(root.base).run("first").table("patches", where=is_dog & (pc.field("channel") == 0))
    assert patches.num_rows and set(patches["image_id"].to_pylist()) <= set(DOGS)
    assert patches.column_names == deconvoy.open(root.base).run("second").table("patches").column_names


def test_channels_their_labels_and_the_list_of_labels_follow(root, give):
    give(DOGS)
    run = catalog.find(root, "first")
    assert labels.labels(run) == ("cat", "dog")
    tables = read_layer(run, "relu1")
    tops = [row for row in scans.top(run, "relu1", 0) if row.score > 0]
    dogs = sum(row.image_id in DOGS for row in tops)
    assert dogs and dict(tables.labels(0))["dog"] == dogs
    found = {(row.layer, row.channel): row.images for row in labels.labelled(run, read_overview(run), "dog")}
    assert found["relu1", 0] == dogs


def test_a_second_file_adds_to_the_first_an_empty_label_removes_one_and_unknown_ids_are_counted(root, give):
    give(DOGS)
    assert give({IDS[0]: "wolf", IDS[1]: "", "no such image": "x"}) == Relabelling(
        "first", 2, 1, 4, unknown_ids=("no such image",)
    )
    assert labels_in(root, IMAGE_TABLE) == expected({**DOGS, IDS[0]: "wolf", IDS[1]: None})
    assert len(stored(root, "first", "labels")) == 1


def test_words_of_labels_come_from_a_file_of_names(root, give, tmp_path):
    (tmp_path / "words.txt").write_text("n02099601 golden retriever\n")
    give({IDS[0]: "n02099601"}, names=str(tmp_path / "words.txt"))
    assert labels_in(root, IMAGE_TABLE)[IDS[0]] == "golden retriever"


def test_words_alone_replace_the_labels_of_all_images(root, give, tmp_path):
    (tmp_path / "words.txt").write_text("cat a small animal\ndog a large animal\n")
    give({IDS[0]: "dog", IDS[1]: ""})
    done = relabel(catalog.find(root, "first"), None, str(tmp_path / "words.txt"))
    assert (done.images, done.renamed, done.labelled) == (0, IMAGES - 1, IMAGES)
    wanted = dict.fromkeys(IDS, "a small animal") | {IDS[0]: "a large animal", IDS[1]: None}
    assert labels_in(root, IMAGE_TABLE) == wanted
    again = relabel(catalog.find(root, "first"), None, str(tmp_path / "words.txt"))  # does nothing more
    assert again.renamed == 0 and labels_in(root, IMAGE_TABLE) == wanted
    (tmp_path / "words.txt").write_text("bird a flying animal\n")
    with pytest.raises(CorpusError, match=r"the file of label names has no label of run .*; its first label is 'bird'"):
        relabel(catalog.find(root, "first"), None, str(tmp_path / "words.txt"))
    assert labels_in(root, IMAGE_TABLE) == wanted


def test_reset_returns_to_the_labels_of_the_corpus(root, give):
    before = files_below(root)
    give(DOGS)
    assert reset(root, "first") == Relabelling("first", 0, 0, 0)
    assert set(labels_in(root, IMAGE_TABLE).values()) == {"cat"}
    assert files_below(root) == before
    with pytest.raises(RunError, match="run 'frist' is not published"):
        reset(root, "frist")


def test_sql_sees_the_new_labels_and_the_old_ones_beside_them(root, give):
    query = "SELECT run, label, count(*) FROM images GROUP BY ALL ORDER BY ALL"
    assert sql.ask(root, query).rows == (("first", "cat", 12), ("second", "cat", 12))
    give(DOGS)
    wanted = (("first", "cat", 9), ("first", "dog", 3), ("second", "cat", 12))
    assert sql.ask(root, query).rows == wanted
    assert sql.ask(root, query, sql.Limits(unsafe=True)).rows == wanted
    assert sql.ask(root, query.replace("images", "images_as_scanned")).rows == (
        ("first", "cat", 12),
        ("second", "cat", 12),
    )
    ids = "SELECT count(DISTINCT image_id) FROM top WHERE run = 'first' AND label = 'dog'"
    dogs = set(DOGS) & set(labels_in(root, TOP))
    assert sql.ask(root, ids).rows == ((len(dogs),),)
    with duckdb.connect() as database:
        database.execute(sql.views(root))
        assert tuple(database.execute(query).fetchall()) == wanted
        assert database.execute(ids).fetchall() == [(len(dogs),)]


def test_readers_of_whole_folders_can_join_the_table(root, give):
    give(DOGS)
    table = ds.dataset(root.path("tables/labels"), partitioning="hive").to_table().to_pylist()
    assert {row["image_id"]: row["label"] for row in table} == DOGS and {row["run"] for row in table} == {"first"}
    assert [row["image_index"] for row in table] == sorted(row["image_index"] for row in table)


def test_a_running_service_notices(root, give, monkeypatch):
    monkeypatch.setattr("service.query.listing.RENEW_S", 0.0)
    atlas = Atlas(root)
    before = atlas.run("first")
    assert atlas.labels(before) == ("cat",)
    give(DOGS)
    wait_for(lambda: atlas.run("first").version != before.version)
    after = atlas.run("first")
    assert atlas.labels(after) == ("cat", "dog") and atlas.labels(before) == ("cat",)
    assert after.mark == before.mark  # which is in the addresses of pictures
    reset(root, "first")
    wait_for(lambda: atlas.run("first").version == before.version)
    assert atlas.labels(atlas.run("first")) == ("cat",)


def wait_for(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_who_has_read_the_run_before_gets_the_new_labels(root, give):
    give(DOGS)
    before = catalog.find(root, "first")
    give({IDS[0]: "wolf"})
    reading.given_labels.cache.clear()
    names = reading.read(before, IMAGE_TABLE, pc.field("image_id") == IDS[0], ["label"])["label"].to_pylist()
    assert names == ["wolf"]


def test_two_at_once_both_count(root, give, monkeypatch, tmp_path):
    give(DOGS)
    (tmp_path / "other.csv").write_text(f"image_id,label\n{IDS[1]},fox\n")
    plain = store_labels.give
    calls: list[int] = []

    def late(*words, **more):
        if not calls:
            calls.append(1)
            relabel(catalog.find(root, "first"), str(tmp_path / "other.csv"))
        return plain(*words, **more)

    monkeypatch.setattr(store_labels, "give", late)
    give({IDS[2]: "owl"})
    assert labels_in(root, IMAGE_TABLE) == expected({**DOGS, IDS[1]: "fox", IDS[2]: "owl"})
    assert len(stored(root, "first", "labels")) == 1


def test_labels_of_a_removed_run_do_not_come_back_with_its_id(root, give):
    give(DOGS)
    left = root.read(paths.labels_path("first"))
    keeper = Housekeeping(root, schedules_of(root), datetime.now(UTC) + timedelta(days=1), timedelta(0))
    keeper.remove(keeper.removal_of("first"))
    publish(root, "first", created="2026-11-25T02:00:00+00:00")
    root.put(paths.labels_path("first"), left)  # the removal was interrupted, or `label` ran at the same time
    assert LABELS.name not in catalog.find(root, "first").tables
    assert set(labels_in(root, IMAGE_TABLE).values()) == {"cat"}


def test_a_run_that_is_removed_meanwhile_leaves_no_labels(root, give, monkeypatch):
    plain = Root.put

    def put(self, rel, data, **more):
        plain(self, rel, data, **more)
        if rel.endswith("labels.json"):
            self.delete(paths.manifest_path("first"))

    monkeypatch.setattr(Root, "put", put)
    with pytest.raises(DamagedRun, match="was removed while it was being relabelled"):
        give(DOGS)
    assert not root.exists(paths.labels_path("first")) and not stored(root, "first", "labels")


def test_a_filter_that_does_not_fit_is_one_line(root, give):
    give(DOGS)
    with pytest.raises(QueryError, match="does not fit the table"):
        reading.read(
            catalog.find(root, "first"), IMAGE_TABLE, (pc.field("label") == "dog") & (pc.field("no") > 1), ["label"]
        )


def test_damaged_labels_are_one_line_with_the_way_out(root, give):
    give(DOGS)
    [file] = stored(root, "first", "labels")
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(DamagedRun, match="--reset"):
        give({IDS[1]: "fox"})


def test_verify_checks_the_labels_and_cleaning_leaves_them(root, give):
    give(DOGS)
    assert not damaged(root)
    keeper = Housekeeping(root, schedules_of(root), datetime.now(UTC) + timedelta(days=1), timedelta(0))
    assert not [removal for removal in keeper.plan() if "labels" in removal.path]
    [file] = stored(root, "first", "labels")
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    [finding] = damaged(root)
    assert "labels" in finding.path and "SHA-256" in finding.problem and "--reset" in finding.remedy


def test_removing_a_run_removes_its_labels(root, give):
    give(DOGS)
    keeper = Housekeeping(root, schedules_of(root), datetime.now(UTC) + timedelta(days=1), timedelta(0))
    keeper.remove(keeper.removal_of("first"))
    assert not [path for path in files_below(root) if "first" in str(path.relative_to(root.base))]


@pytest.mark.parametrize("content", [b"{", b'{"run": "first"}'])
def test_a_damaged_document_is_one_line_with_the_way_out(root, give, content):
    give(DOGS)
    root.put(paths.labels_path("first"), content)
    with pytest.raises(DamagedRun, match=r"its labels.json .*--reset") as caught:
        catalog.find(root, "first")
    assert "\n" not in str(caught.value)
    assert [finding.path for finding in damaged(root)] == ["runs/first/labels.json"]
    reset(root, "first")
    assert set(labels_in(root, IMAGE_TABLE).values()) == {"cat"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_id,name\na,b\n", "needs the columns image_id and label, but has image_id, name"),
        (
            "image_id,label\nx,b\n",
            "names no image of run 'first'; its first id is 'x', whereas the run has ids such as 'cat0/000.png'",
        ),
        ("image_id,label\n", "has no rows"),
        ("image_id,label\nx,b\nx,c\n", "names image 'x' more than once"),
        ("image_id,label\n,c\n", "row 1 of label file .* has no image_id"),
    ],
)
def test_a_wrong_file_is_one_line_and_changes_nothing(root, tmp_path, text, message):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(CorpusError, match=message):
        relabel(catalog.find(root, "first"), str(tmp_path / "labels.csv"))
    assert not root.exists(paths.labels_path("first")) and LABELS.name not in catalog.find(root, "first").tables


def run_command(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


def test_the_command_says_what_it_did(root, tmp_path):
    place = tmp_path / "labels.csv"
    place.write_text(f"image_id,label\n{IDS[2]},lynx\nnobody,x\n")
    where = ("--root", root.base)
    told = run_command("label", "first", "--labels", place, *where)
    assert told.stdout == "run first: 1 image given labels by the file; 1 id in the file is not in the run: nobody\n"
    assert "relu1" in run_command("query", "label", "lynx", "--run", "first", *where).stdout
    assert run_command("label", "first", *where).exit_code == 2
    assert run_command("label", "first", "--reset", "--label-names", place, *where).exit_code == 2
    assert run_command("label", "first", "--reset", *where).stdout == "run first has the labels of its corpus\n"
    told = run_command("label", "first", "--labels", place, "--json", *where)
    assert json.loads(told.stdout) == {
        "run": "first", "images": 1, "unknown": 1, "labelled": 1, "renamed": 0, "unknown_ids": ["nobody"]
    }  # fmt: skip
