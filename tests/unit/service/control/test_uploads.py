"""What is brought to a root for a cluster elsewhere: weights, class names and checkpoints, by name and bytes."""

import pytest

from jobs.evolve import checkpoints
from service.control.uploads import upload
from workers.errors import SpecError, UsageError
from workers.spec.evolve import EvolutionRun
from workers.spec.make import make
from workers.store.root import Root

ADDRESS = "http://head.example:8265"
ROOT = "memory://uploads"


@pytest.fixture
def folder(tmp_path):
    for name, data in {"a/last.pt": b"same", "b/last.pt": b"same", "epoch-10.pt": b"10", "epoch-2.pt": b"2"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    return tmp_path


def evolution(*files: str) -> dict:
    return {"root": ROOT, "model": {"source": "deconvoy://zfnet-mini"}, "corpus": {"source": "s3://bucket/photos"},
            "evolve": {"checkpoints": list(files)}}  # fmt: skip


def had(url: str) -> bytes:
    return Root(ROOT).read(url.partition("uploads/")[2])


def test_weights_and_class_names_of_this_machine_are_brought_to_the_root(folder):
    model = {"source": f"deconvoy://zfnet-mini?weights=file://{folder}/a/last.pt", "classes": f"{folder}/classes.txt"}
    for values in ({"model": model}, {"models": [model]}):
        asked = upload({"root": ROOT, **values}, ADDRESS)
        found = asked.get("model") or asked["models"][0]
        head, _, weights = found["source"].partition("?weights=")
        assert head == "deconvoy://zfnet-mini" and weights.startswith("memory://") and weights.endswith("/last.pt")
        assert (had(weights), had(found["classes"])) == (b"same", b"cat\ndog\n")


def test_the_files_of_a_snapshot_that_are_read_are_brought_to_the_root(folder):
    snapshot = folder / "snapshot"
    snapshot.mkdir()
    contents = {"config.json": b"{}", "model.safetensors": b"weights", "pytorch_model.bin": b"pickled"}
    for name, data in contents.items():
        (snapshot / name).write_bytes(data)
    for before in ("", "file://"):
        values = {"root": ROOT, "model": {"source": f"hf-hub:{before}{snapshot}"}}
        place = upload(values, ADDRESS)["model"]["source"].removeprefix("hf-hub:")
        assert place.startswith("memory://") and had(f"{place}model.safetensors") == b"weights"
        assert not Root(ROOT).exists(f"{place.partition('uploads/')[2]}pytorch_model.bin")
    weights = f"hf-hub:{snapshot}?weights={folder}/a/last.pt"
    source = upload({"root": ROOT, "model": {"source": weights}}, ADDRESS)["model"]["source"]
    assert source.startswith(f"hf-hub:{place}?weights=memory://")
    repository = {"root": ROOT, "model": {"source": "hf-hub:org/net@main"}}
    assert upload(repository, ADDRESS) == repository
    with pytest.raises(UsageError, match=f"'{folder}/config.json' cannot be read"):
        upload({"root": ROOT, "model": {"source": f"hf-hub:{folder}"}}, ADDRESS)


def test_nothing_is_brought_to_a_cluster_on_this_machine(folder):
    values = evolution(f"{folder}/epoch-*.pt")
    assert upload(values, "http://127.0.0.1:8265") == values


@pytest.mark.parametrize("before", ["", "file://", "local://"])
def test_the_files_of_a_glob_are_brought_in_the_order_of_their_numbers(folder, before):
    files = upload(evolution(f"{before}{folder}/epoch-*.pt", "s3://bucket/epoch-*.pt"), ADDRESS)["evolve"][
        "checkpoints"
    ]
    assert [had(each) for each in files[:2]] == [b"2", b"10"] and files[2:] == ["s3://bucket/epoch-*.pt"]
    assert [each.rpartition("/")[2] for each in files[:2]] == ["epoch-2.pt", "epoch-10.pt"]


def test_files_of_one_name_and_content_stay_two_checkpoints(folder):
    values = upload(evolution(f"{folder}/a/last.pt", f"file://{folder}/b/last.pt"), ADDRESS)
    files = checkpoints.expand(make(EvolutionRun, values).evolve.checkpoints)
    assert len(files) == 2 and [had(each) for each in files] == [b"same", b"same"]
    assert (
        upload(evolution(f"{folder}/a/last.pt", f"{folder}/b/last.pt"), ADDRESS) == values
    )  # submitting again is the same


@pytest.mark.parametrize("wrong", ["epoch-*.pt", None, 3, {"a": 1}, ["x.pt", 1], [["x.pt"]]])
def test_what_is_no_list_of_words_is_left_to_the_spec(wrong):
    values = evolution() | {"evolve": {"checkpoints": wrong}}
    assert upload(values, ADDRESS) == values
    with pytest.raises(SpecError, match=r"evolve\.checkpoints"):
        make(EvolutionRun, values)


def test_a_file_that_is_not_there_is_named_as_it_was_given(folder):
    with pytest.raises(UsageError, match=f"'file://{folder}/none.pt' cannot be read: No such file"):
        upload(evolution(f"file://{folder}/none.pt"), ADDRESS)
    with pytest.raises(SpecError, match="nothing matches"):
        upload(evolution(f"{folder}/none-*.pt"), ADDRESS)


def test_a_root_or_corpus_of_this_machine_is_refused(folder):
    cases: list[tuple[dict[str, object], str]] = [
        ({"root": str(folder)}, "root"),
        ({"corpus": {"source": str(folder)}}, "corpus"),
        ({"corpus": {"source": "s3://bucket/list.csv", "within": str(folder)}}, "corpus"),
    ]
    for wrong, told in cases:
        with pytest.raises(UsageError, match=f"{told} .* is on this machine"):
            upload(evolution("s3://bucket/1.pt") | wrong, ADDRESS)
    with pytest.raises(UsageError, match="has no root"):
        upload({}, ADDRESS)


def test_a_model_that_is_no_table_is_left_to_the_spec():
    assert upload({"root": ROOT, "models": ["deconvoy://zfnet-mini", 7]}, ADDRESS)["models"] == [
        "deconvoy://zfnet-mini",
        7,
    ]
