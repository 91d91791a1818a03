"""Embedded channels as a job: their numbers by another road, resumed by batch, found by text, by neighbours and on pages."""

import io
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel
from typer.testing import CliRunner

from jobs.concepts import concepts as concepts_on_ray
from jobs.texts import MOST_ASKED, WORDINGS, Texts
from jobs.watch import SilentWatcher
from service.cli.main import app
from service.query import catalog
from service.query import concepts as query
from tests.support import colours, pages, tiny_clip
from tests.support.asking import atlas_of
from tests.support.colours import DEAD, FIRST, NAMES, SECOND
from tests.support.greedy import refuse_batches
from tests.support.in_process import here
from workers.actors.concepts import ConceptsWorker
from workers.errors import ModelError, QueryError, RunError, Unavailable
from workers.spec.concepts import ConceptsRun
from workers.spec.make import make
from workers.store.root import Root

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("two_cpus")]
concepts = here(concepts_on_ray)
LAYERS = (FIRST, SECOND)
BATCH = 3
WAIT_S = 120.0


def spec(place: Path, *, run: str = "meanings", actors: int = 2, root: Path | None = None, **asked) -> ConceptsRun:
    values = {
        "run": run,
        "root": str(root or place / "root"),
        "resources": {"actors": actors, "device": "cpu"},
        "concepts": {"from_run": "colours", "encoder": f"hf-hub:{place / 'clip'}", "batch": BATCH} | asked,
    }
    return make(ConceptsRun, values)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A scan of colours, a model that knows them, and the published run."""
    place = tmp_path_factory.mktemp("place")
    (place / "clip").mkdir()
    tiny_clip.write(place / "clip")
    colours.write_photos(place / "photos")
    colours.publish_scan(place / "root", place / "photos")
    concepts_on_ray(spec(place), SilentWatcher())
    return place


@pytest.fixture(scope="module")
def texts(place) -> Iterator[Texts]:
    texts = Texts(str(place / "root"))
    yield texts
    texts.close()


@pytest.fixture
def copied(place, tmp_path) -> Path:
    shutil.copytree(place / "root", tmp_path / "root")
    return tmp_path / "root"


def rows(root: Path, run: str = "meanings") -> list[dict]:
    return pq.read_table(root / "tables" / "concepts", filters=[("run", "==", run)]).to_pylist()


def tables(root: Path, run: str = "meanings") -> list[str]:
    manifest = json.loads((root / "runs" / run / "manifest.json").read_text())
    return [part["sha256"] for part in manifest["tables"]["concepts"]]


def results(root: Path) -> list[Path]:
    return sorted(
        path
        for path in root.glob("shards/*/*.parquet")
        if pq.read_schema(path).metadata[b"deconvoy.schema"] == b"embedded"
    )


def expected(place: Path) -> dict[tuple[str, int], tuple[np.ndarray, float]]:
    """The directions and agreements by transformers alone, one patch at a time."""
    model = CLIPModel.from_pretrained(place / "clip").eval()
    prepare = AutoImageProcessor.from_pretrained(place / "clip")
    patches = pq.read_table(place / "root" / "tables" / "patches").to_pylist()
    embedded: dict[tuple[str, int], list[np.ndarray]] = {}
    for row in patches:
        if row["score"] > 0:
            with Image.open(io.BytesIO(row["patch"]["bytes"])) as opened, torch.inference_mode():
                seen = model.get_image_features(**prepare(opened.convert("RGB"), return_tensors="pt"))
            vector = getattr(seen, "pooler_output", seen)[0].double().numpy()
            embedded.setdefault((row["layer"], row["channel"]), []).append(vector / np.sqrt((vector**2).sum()))
    means = {key: np.mean(vectors, axis=0) for key, vectors in embedded.items()}
    return {key: (mean / np.sqrt(mean @ mean), float(np.sqrt(mean @ mean))) for key, mean in means.items()}


def test_each_channel_has_the_mean_direction_of_its_patches(place):
    known = expected(place)
    for row in rows(place / "root"):
        key = (row["layer"], row["channel"])
        if row["channel"] == DEAD:
            assert key not in known and row["patches"] == 0
            assert row["embedding"] is row["agreement"] is row["map_x"] is None
            continue
        direction, agreement = known[key]
        assert row["patches"] == colours.OF_EACH
        np.testing.assert_allclose(row["embedding"], direction, atol=1e-4)
        assert row["agreement"] == pytest.approx(agreement, abs=1e-4)
        assert 0 <= row["map_x"] <= 1 and 0 <= row["map_y"] <= 1
    assert [(row["layer"], row["channel"]) for row in rows(place / "root")] == [
        (layer, channel) for layer in LAYERS for channel in range(DEAD + 1)
    ]


def test_a_colour_finds_the_channels_that_see_it(place, texts):
    run = catalog.find(Root(str(place / "root")), "meanings", None)
    every = query.read_concepts(run)
    for number, name in enumerate(NAMES):
        nearest = every.nearest(texts.direction(run.encoder, name, WAIT_S), 2)
        assert {(near.layer, near.channel) for near in nearest} == {(FIRST, number), (SECOND, DEAD - 1 - number)}
        [own] = every.nearest(texts.direction(run.encoder, name, WAIT_S), 1, SECOND)
        assert (own.layer, own.channel) == (SECOND, DEAD - 1 - number)


def test_the_command_lists_the_nearest_channels(place):
    asked = ["query", "concept", "green", "--root", str(place / "root"), "--limit", "2", "--json"]
    nearest = json.loads(CliRunner().invoke(app, asked).stdout)
    assert {(row["layer"], row["channel"]) for row in nearest} == {(FIRST, 1), (SECOND, DEAD - 2)}


def test_a_text_has_the_mean_direction_of_its_wordings(place, texts):
    run = catalog.find(Root(str(place / "root")), "meanings", None)
    direction = texts.direction(run.encoder, "blue", WAIT_S)
    model, words = CLIPModel.from_pretrained(place / "clip").eval(), AutoTokenizer.from_pretrained(place / "clip")
    total = np.zeros(16)
    for wording in WORDINGS:
        with torch.inference_mode():
            seen = model.get_text_features(**words(wording.format("blue"), return_tensors="pt"))
        vector = getattr(seen, "pooler_output", seen)[0].double().numpy()
        total += vector / np.sqrt(vector @ vector)
    np.testing.assert_allclose(direction, total / np.sqrt(total @ total), atol=1e-4)


def test_the_nearest_channel_is_the_one_of_the_same_colour_in_the_other_layer(place):
    asked = [
        "query",
        "concept",
        "--layer",
        FIRST,
        "--channel",
        "1",
        "--root",
        str(place / "root"),
        "--limit",
        "3",
        "--json",
    ]
    nearest = json.loads(CliRunner().invoke(app, asked).stdout)
    assert (nearest[0]["layer"], nearest[0]["channel"]) == (SECOND, DEAD - 2)
    known = expected(place)
    own = known[FIRST, 1][0]
    cosines = sorted((float(own @ other) for key, (other, _) in known.items() if key != (FIRST, 1)), reverse=True)
    assert [row["similarity"] for row in nearest] == pytest.approx(cosines[:3], abs=1e-4)


def test_tables_do_not_depend_on_actors_and_a_second_run_reuses_every_result(place, copied):
    again = concepts(spec(place, root=copied, run="again", actors=1), SilentWatcher())
    assert (again.shards_run, again.shards_reused) == (0, len(results(copied)))
    assert tables(copied, "again") == tables(copied)
    for path in results(copied):
        path.unlink()
    anew = concepts(spec(place, root=copied, run="anew"), SilentWatcher())
    assert anew.shards_reused == 0 and tables(copied, "anew") == tables(copied)


def test_a_published_run_is_complete_at_once(place):
    assert concepts(spec(place), SilentWatcher()).already_published


def test_a_result_that_is_damaged_is_made_again(place, copied):
    class Thief(SilentWatcher):
        def phase(self, name, total, unit):
            del total, unit
            if name == "publish":
                path = results(copied)[1]
                path.write_bytes(path.read_bytes()[:-9])

    concepts(spec(place, root=copied, run="anew"), Thief())
    assert tables(copied, "anew") == tables(copied)


def test_smaller_batches_are_used_when_memory_runs_out(place, copied, monkeypatch):
    refuse_batches(monkeypatch, ConceptsWorker)
    for path in results(copied):
        path.unlink()
    concepts(spec(place, root=copied, run="anew"), SilentWatcher())
    manifest = json.loads((copied / "runs" / "anew" / "manifest.json").read_text())
    assert manifest["reduced_batch"] == 1
    for one, other in zip(rows(copied, "anew"), rows(copied), strict=True):
        assert one["embedding"] == pytest.approx(other["embedding"], abs=1e-5) or one["embedding"] is other["embedding"]


def test_the_model_is_read_from_the_root(place, copied, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(place / "clip", elsewhere / "clip")
    concepts(spec(elsewhere, root=copied, run="moved"), SilentWatcher())
    shutil.rmtree(elsewhere)
    run = catalog.find(Root(str(copied)), "moved", None)
    with closing(Texts(str(copied))) as texts:
        assert texts.direction(run.encoder, "red", WAIT_S) is not None
    with closing(Texts(str(copied))) as texts:
        [weights] = copied.glob("encoders/*/model.safetensors")
        weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
        with pytest.raises(Unavailable, match="is damaged: its files have the hash"):
            texts.direction(run.encoder, "green", WAIT_S)


def test_a_search_is_refused_while_many_others_wait(copied):
    run = catalog.newest_first([run for run in catalog.runs(Root(str(copied))) if run.encoder])[0]
    with closing(Texts(str(copied))) as texts:
        for number in range(MOST_ASKED):
            texts.direction(run.encoder, f"text {number}", 0)
        with pytest.raises(Unavailable, match="64 other texts are waiting"):
            texts.direction(run.encoder, "one more", 0)
        assert texts.direction(run.encoder, "text 0", WAIT_S) is not None


def test_a_run_with_another_model_is_refused_under_the_same_id(place, copied, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(place / "clip", other / "clip")
    with pytest.raises(RunError, match="already published with a different spec"):
        concepts(spec(other, root=copied), SilentWatcher())
    config = place / "clip" / "tokenizer_config.json"
    before = config.read_text()
    try:
        config.write_text(before + " ")
        with pytest.raises(RunError, match="have changed since; choose another --run"):
            concepts(spec(place, root=copied), SilentWatcher())
    finally:
        config.write_text(before)


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"from_run": "nowhere"}, "from_run 'nowhere' is not a published scan in"),
        ({"from_run": "meanings"}, "from_run 'meanings' is not a published scan in"),
        ({"layers": ["relu9"]}, "no layer 'relu9' in the model; nearest: "),
        ({"layers": ["first"]}, "from_run 'colours' has no layer 'first'; nearest: first_relu"),
        ({"encoder": "hf-hub:/nowhere"}, "hf-hub:/nowhere has no config.json or open_clip_config.json"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(place, asked, error):
    before = sorted((place / "root").rglob("*"))
    with pytest.raises((RunError, ModelError), match=error):
        concepts(spec(place, run="wrong", **asked), SilentWatcher())
    assert sorted((place / "root").rglob("*")) == before


def test_the_pages_show_the_map_the_neighbours_and_what_a_text_finds(place):
    page = pages.shown(place / "root", "meanings")
    assert page["encoder"] == "clip" and page["scan"]["run"] == "colours" and len(page["tiles"]) == len(NAMES)
    by_channel = {row["channel"]: row for row in rows(place / "root") if row["layer"] == page["shown"]}
    for tile in page["tiles"]:
        row = by_channel[tile["channel"]]
        assert tile["left"] == pytest.approx(row["map_x"] * (1 - page["tile"]), abs=1e-6)
        assert tile["top"] == pytest.approx(row["map_y"] * (1 - page["tile"]), abs=1e-6)


def test_the_page_of_a_channel_and_the_search_show_the_nearest_channels(place):
    client = atlas_of(Root(str(place / "root")))
    row = client.get("/runs/meanings/rows/1.json").json()
    assert row["in_others"][0]["channel"] == DEAD - 2
    assert row["picture"].startswith(f"/runs/colours/layers/{FIRST}/channels/1/")
    assert {card["layer"] for card in row["in_layer"]} == {FIRST} and len(row["in_layer"]) == len(NAMES) - 1
    channel = client.get(f"/runs/colours/layers/{FIRST}/channels/1.json").json()
    assert (channel["similar"]["channels"][0]["layer"], channel["similar"]["channels"][0]["channel"]) == (
        SECOND,
        DEAD - 2,
    )
    assert client.get(f"/runs/colours/layers/{FIRST}/channels/{DEAD}.json").json()["similar"] is None
    [before] = client.get("/search.json?q=white").json()["meant"]
    assert before["channels"] or "is being loaded" in before["problem"]
    until = time.monotonic() + WAIT_S
    while not (page := client.get("/search.json?q=white").json()["meant"][0])["channels"]:
        assert time.monotonic() < until
    assert {(card["layer"], card["channel"]) for card in page["channels"][:2]} == {(FIRST, 5), (SECOND, 0)}
    html = client.get("/search?q=white").text
    assert "By meaning" in html and html.count("<li>") >= len(page["channels"])


def test_the_newest_run_answers_for_the_layers_that_it_has(place, copied):
    concepts(spec(place, root=copied, run="newer", layers=[SECOND]), SilentWatcher())
    runs = catalog.runs(Root(str(copied)))
    scan = catalog.find(Root(str(copied)), "colours")
    answers = {layer: query.require_embedded(runs, scan, layer).run for layer in (None, FIRST, SECOND)}
    assert answers[FIRST] == "meanings" and answers[SECOND] == answers[None]


def test_another_scan_of_the_same_id_has_no_directions(place, copied, tmp_path):
    root = Root(str(copied))
    assert CliRunner().invoke(app, ["rm", "colours", "--root", str(copied)]).exit_code == 0
    (tmp_path / "few").mkdir()
    for path in sorted((place / "photos").iterdir())[::2]:
        shutil.copy(path, tmp_path / "few")
    colours.publish_scan(copied, tmp_path / "few")
    page = pages.shown(copied, "meanings")
    assert page["scan"] is None and page["tiles"]
    with pytest.raises(QueryError, match="the channels of run 'colours' are not embedded"):
        query.require_embedded(catalog.runs(root), catalog.find(root, "colours"))
    with pytest.raises(RunError, match="another scan has the id 'colours' now"):
        concepts(spec(place, root=copied), SilentWatcher())
    client = atlas_of(root)
    assert client.get(f"/runs/colours/layers/{FIRST}/channels/1.json").json()["similar"] is None
    assert client.get("/search.json?q=white").json()["meant"] == []


def test_a_run_of_dead_channels_finds_nothing():
    nothing = np.zeros(0, np.int64)
    empty = np.zeros((0, 0), np.float32)
    every = query.Concepts({0: "relu"}, nothing, nothing, nothing, empty[:, 0:0].reshape(0), empty, empty)
    assert every.nearest(np.ones(3, np.float32), 5) == ()
