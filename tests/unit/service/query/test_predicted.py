"""Channels by the classes that the network predicts: found by name, synonym or another word, counted as by hand, and shown."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from service.cli.main import app
from service.control import noting
from service.query import catalog, class_words, predicted
from service.query.catalog import PublishedRun
from service.query.telling import Overview, read_overview
from tests.support.asking import atlas_of
from tests.support.published import CHANNELS, DEAD, K, publish
from workers.errors import QueryError
from workers.store.root import Root

NAMES = ("tench, Tinca tinca", "Chihuahua", "golden retriever", "hot dog")
WORDS = ("fish", "dog, toy dog", "dog,sporting dog", "")
MODEL = {"source": "deconvoy://none", "fingerprint": "none", "class_names": NAMES}
CLASSES = [1, 2, 1, 0, 3, 1, 2, 0, 1, 2, 1, 1]  # of each image


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Root:
    root = Root(str(tmp_path_factory.mktemp("root")))
    publish(root, model=MODEL | {"class_words": WORDS}, predicted=[(index, NAMES[index]) for index in CLASSES])
    publish(root, "second", "2026-11-24T02:00:00+00:00")
    return root


@pytest.fixture(scope="module")
def predictions(root):
    return predicted.read_predictions(catalog.find(root, "first"))


def ask(run: str, text: str, root: Root, layer: str | None = None) -> predicted.PredictedClasses:
    published = catalog.find(root, run)
    return predicted.predicted(published, read_overview(published), text, layer=layer)


def by_hand(root: Root, classes: set[int]) -> dict[tuple[str, int], tuple[int, int]]:
    """For each channel, the number of top images with a positive score of these classes, and that of all."""
    own, every = Counter[tuple[str, int]](), Counter[tuple[str, int]]()
    for file in (root.base + "/" + part.path for part in catalog.find(root, "first").tables["top"]):
        for row in pq.read_table(file).to_pylist():
            if row["score"] > 0:
                every[row["layer"], row["channel"]] += 1
                own[row["layer"], row["channel"]] += CLASSES[row["image_index"]] in classes
    return {key: (own[key], every[key]) for key in every if own[key]}


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("dog", (1, 2)), ("Dog ", (1, 2)), ("toy  dog", (1,)), ("tinca tinca", (0,)), ("TENCH, Tinca tinca", (0,)),
        ("retriever", (2,)), ("hot dog", (3,)), ("hot", (3,)), ("retrieve", ()), ("og", ()), ("", ()), (" ", ()), ("(", ()),
    ],
)  # fmt: skip
def test_a_word_finds_the_classes_that_have_it_and_else_those_that_contain_it(predictions, text, classes):
    assert predictions.find(text) == classes


@pytest.mark.parametrize(("text", "classes"), [("dog", {1, 2}), ("tench", {0}), ("hot dog", {3})])
def test_channels_are_those_counted_by_hand_the_largest_share_first(root, text, classes):
    done = CliRunner().invoke(app, ["query", "class", text, "--run", "first", "--json", "--root", root.url])
    rows = json.loads(done.stdout)
    assert {(row["layer"], row["channel"]): (row["images"], row["top"]) for row in rows} == by_hand(root, classes)
    order = [(-row["images"] / row["top"], -row["selectivity"]) for row in rows]
    assert order == sorted(order) and DEAD not in {row["channel"] for row in rows}


@pytest.mark.parametrize("command", ["class", "label"])
def test_channels_can_be_limited_to_a_layer_and_show_the_selectivity_that_units_gives(root, command):
    def rows(*more: str) -> list[dict]:
        done = CliRunner().invoke(app, ["query", *more, "--run", "first", "--json", "--root", root.url])
        return json.loads(done.stdout)

    word = "dog" if command == "class" else "cat"
    every, some = rows(command, word), rows(command, word, "--layer", "relu2")
    assert some == [row for row in every if row["layer"] == "relu2"] and 0 < len(some) < len(every)
    units = {row["channel"]: row["selectivity"] for row in rows("units", "--layer", "relu2")}
    assert {row["channel"]: row["selectivity"] for row in some} == {
        row["channel"]: units[row["channel"]] for row in some
    }
    order = [(-row["images"] / row["top"], -row["selectivity"]) for row in every]
    assert order == sorted(order)
    done = CliRunner().invoke(app, ["query", command, word, "--layer", "relu9", "--run", "first", "--root", root.url])
    assert done.exit_code == 2 and "relu9" in done.stderr


def test_the_command_names_the_classes_and_limits_its_list(root):
    done = CliRunner().invoke(app, ["query", "class", "dog", "--run", "first", "--limit", "2", "--root", root.url])
    assert done.stderr == "2 classes: Chihuahua, golden retriever\n" and len(done.stdout.splitlines()) == 3


def test_a_run_without_predictions_and_a_word_without_a_class_are_one_line_with_the_way_out(root):
    with pytest.raises(QueryError, match=r"run 'second' has no predictions; scan again with a classifier .*--classes"):
        ask("second", "dog", root)
    with pytest.raises(QueryError, match=r"no class of the network is called 'chihuahuas'; .*chihuahua"):
        ask("first", "chihuahuas", root)


def test_the_error_names_the_other_ways_to_search_that_the_root_has(root, tmp_path):
    def ways(run: PublishedRun, text: str) -> str:
        with pytest.raises(QueryError) as error:
            predicted.predicted(run, read_overview(run), text)
        return str(error.value).partition("other ways: ")[2]

    run, plain = catalog.find(root, "first"), Root(str(tmp_path))
    publish(plain, model=MODEL, predicted=[(0, NAMES[0])] * 12, named=[(f"{n}.png", None) for n in range(13)])
    assert ways(run, "two words") == (
        "--classes FILE gives classes more words, `deconvoy query label 'two words' --root ROOT` (labels of images), "
        "`deconvoy query concept 'two words' --root ROOT` (any text, after `deconvoy concepts`)"
    )
    assert "query label" not in ways(catalog.find(plain), "text") and "query notes" not in ways(
        catalog.find(plain), "text"
    )
    noting.write(catalog.find(plain), "relu1", 0, "Text on signs")
    assert "`deconvoy query notes text --root ROOT` (1 note)" in ways(catalog.find(plain), "text")
    assert "query notes" not in ways(catalog.find(plain), "face")


def test_a_file_of_classes_replaces_those_of_the_run_for_one_query(root, tmp_path):
    def query(word: str, *more: str, code: int = 0) -> Result:
        done = CliRunner().invoke(app, ["query", "class", word, "--run", "first", "--root", root.url, *more])
        assert done.exit_code == code, done.stderr
        return done

    file = tmp_path / "classes.txt"
    file.write_text("tench\tswimmer\none\tpet\ntwo\tpet\nthree\n")
    rows = json.loads(query("pet", "--classes", str(file), "--json").stdout)
    assert {(row["layer"], row["channel"]): (row["images"], row["top"]) for row in rows} == by_hand(root, {1, 2})
    assert query("pet", "--classes", str(file)).stderr == "2 classes: one, two\n"
    assert "no class of the network is called 'dog'" in query("dog", "--classes", str(file), code=2).stderr
    assert query("dog").stderr == "2 classes: Chihuahua, golden retriever\n"
    file.write_text("one\ntwo\n")
    assert "has 2 lines, but the model has 4 outputs" in query("one", "--classes", str(file), code=2).stderr


def test_names_without_words_and_names_that_only_contain_the_word_are_said_to_be_so(root, tmp_path):
    plain = Root(str(tmp_path))
    publish(plain, model=MODEL | {"class_names": ("hot dog", "cat", "cup", "sea dog")}, predicted=[(0, "hot dog")] * 12)
    done = CliRunner().invoke(app, ["query", "class", "dog", "--root", plain.url])
    assert done.stderr.splitlines() == [
        "2 classes: hot dog, sea dog",
        "classes are searched by their names only: --classes FILE gives classes more words, such as dog for each breed",
    ]
    assert CliRunner().invoke(app, ["query", "class", "dog", "--json", "--root", plain.url]).stderr == ""
    done = CliRunner().invoke(app, ["query", "class", "retriever", "--run", "first", "--root", root.url])
    assert done.stderr.splitlines()[1].startswith(
        "no class is called exactly 'retriever'; these have a word that contains it; other ways: --classes FILE"
    )


def test_the_classes_of_a_channel_are_those_of_its_top_images(root, predictions):
    run = catalog.find(root, "first")
    layer = next(layer for layer in run.layers if layer.name == "relu2")
    counts = dict(predictions.of(layer.index, 3))
    expected = {NAMES[index]: by_hand(root, {index}).get(("relu2", 3), (0, 0))[0] for index in range(len(NAMES))}
    assert counts == {name: images for name, images in expected.items() if images} and sum(counts.values()) <= K
    assert predictions.of(layer.index, DEAD) == ()


def test_channels_with_fewer_images_than_wanted_are_left_out():
    layers, channels, classes = (np.array(each) for each in ([0, 0, 0, 0, 0], [0, 0, 0, 1, 1], [0, 0, 1, 0, 1]))
    few = predicted.Predictions(("a", "b"), (frozenset({"a"}), frozenset({"b"})), layers, channels, classes)
    units = np.array([0, 1])
    overview = Overview(np.zeros(2, np.int64), units, units - 1, units, units, np.array([0.1, 0.9]), (), {})
    assert [(each.channel, each.images, each.top) for each in few.channels([0], overview)] == [(0, 2, 3), (1, 1, 2)]
    assert [each.channel for each in few.channels([0], overview, least=2)] == [0]
    assert few.channels([1], overview, least=2) == ()
    assert [each.channel for each in few.channels([0, 1], overview)] == [
        1,
        0,
    ]  # of equal shares, the more selective one


def test_the_search_leaves_out_channels_with_too_few_images_of_a_class(root, monkeypatch):
    shares = [images for images, _ in by_hand(root, {1, 2}).values()]
    least = max(shares)
    assert min(shares) < least
    monkeypatch.setattr("service.atlas.pages.search.LEAST_SHARED", least)
    matches = atlas_of(root).get("/search.json?q=dog").json()["channels"]
    assert matches and {match["images"] for match in matches} == {least}


def test_the_atlas_finds_channels_by_class_and_shows_predictions(root):
    client = atlas_of(root)
    matches = client.get("/search.json?q=dog").json()["channels"]
    assert matches and all(match["is_predicted"] and match["run"] == "first" for match in matches)
    counted = by_hand(root, {1, 2})
    assert all((match["images"], match["top"]) == counted[match["layer"], match["channel"]] for match in matches)
    page = client.get("/runs/first/layers/relu2/channels/3.json").json()
    assert page["predicted"][0]["images"] == max(each["images"] for each in page["predicted"])
    assert client.get(page["predicted"][0]["href"]).status_code == 200
    text = client.get("/runs/first/layers/relu2/channels/3").text
    assert "Classes that the network predicts" in text
    image = client.get("/runs/first/image", params={"id": "cat1/001.png"}).text
    assert "the network predicts" in image and "golden retriever" in image
    assert "the network predicts" not in client.get("/runs/second/image", params={"id": "cat1/001.png"}).text
    assert len(CHANNELS) == 4


def test_the_search_orders_channels_of_all_runs_together(root):
    matches = atlas_of(root).get("/search.json?q=cat").json()["channels"]
    assert {match["run"] for match in matches} == {"first", "second"}
    shares = [match["images"] / match["top"] for match in matches]
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize("words", ["3", "channel 3"])
def test_a_number_finds_the_channel_of_every_layer(root, words):
    matches = atlas_of(root).get("/search.json", params={"q": words}).json()["channels"]
    layers = {(run.run, layer.name) for run in catalog.runs(root) for layer in run.layers if layer.channels > 3}
    assert {(match["run"], match["layer"]) for match in matches if match["channel"] == 3} >= layers


def test_the_classes_are_listed_with_their_images_and_written_to_a_file_that_finds_the_same(root, tmp_path):
    def query(*more: str) -> Result:
        return CliRunner().invoke(app, ["query", *more, "--run", "first", "--root", root.url])

    rows = json.loads(query("classes", "--json").stdout)
    assert [(row["index"], row["name"], row["images"]) for row in rows] == [
        (number, name, CLASSES.count(number)) for number, name in enumerate(NAMES)
    ]
    assert rows[1]["words"] == ["dog", "toy dog"] and len(query("classes", "--limit", "2").stdout.splitlines()) == 3
    path = str(tmp_path / "classes.tsv")
    assert query("classes", "-o", path).stdout == f"{path}\n"
    for word in ("dog", "tinca tinca", "sporting dog"):
        assert query("class", word, "--classes", path, "--json").stdout == query("class", word, "--json").stdout
    assert query("classes", "-o", str(tmp_path / "none" / "classes.tsv")).exit_code == 2


def test_a_run_without_class_names_says_how_to_get_them(root):
    done = CliRunner().invoke(app, ["query", "classes", "--run", "second", "--root", root.url])
    assert done.exit_code == 2 and "scan again with --classes FILE" in done.stderr


def test_the_classes_of_imagenet_come_with_the_words_above_them(tmp_path):
    root = Root(str(tmp_path))
    names = tuple(Path(class_words.IMAGENET).read_text().splitlines()[number].split("\t")[0] for number in range(1000))
    publish(root, model=MODEL | {"class_names": names}, predicted=[(151, names[151])] * 12)
    known = predicted.require_classes(catalog.find(root))
    assert "dog" in known[151].words and "animal" in known[151].words and known[151].images == 12
