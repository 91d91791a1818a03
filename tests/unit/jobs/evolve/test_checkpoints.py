"""Which files a training is made of, and what in each is new."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from jobs.evolve import checkpoints, pipeline
from workers.core.network import Network
from workers.errors import DivergedError, ModelError, SpecError
from workers.models import model as models
from workers.models.zfnet import zfnet_mini
from workers.spec.evolve import EvolutionRun
from workers.spec.make import make

LAYERS = ["relu1", "relu2", "relu3", "relu5", "fc7"]


def spec(*files: str, source: str = "deconvoy://zfnet-mini", root: str = "r") -> EvolutionRun:
    values = {
        "root": root,
        "model": {"source": source},
        "corpus": {"source": "c"},
        "evolve": {"checkpoints": list(files)},
    }
    return make(EvolutionRun, values)


def test_the_files_of_a_glob_go_by_the_numbers_in_their_names(tmp_path):
    for number in (10, 2, 1):
        (tmp_path / f"epoch-{number}.pt").touch()
    found = checkpoints.resolve(spec(f"{tmp_path}/epoch-*.pt"))
    assert found.evolve.checkpoints == tuple(f"{tmp_path}/epoch-{number}.pt" for number in (1, 2, 10))
    assert found.model.source == f"deconvoy://zfnet-mini?weights={tmp_path}/epoch-10.pt"


@pytest.mark.parametrize(
    ("files", "source", "told"),
    [
        (("none-*.pt",), "deconvoy://zfnet-mini", "nothing matches"),
        (("a.pt",), "deconvoy://zfnet-mini", "one file"),
        (("a.pt", "b.pt", "a.pt"), "deconvoy://zfnet-mini", "named twice"),
        (("a.pt", "b.pt"), "deconvoy://zfnet-mini?weights=c.pt", "names weights"),
        (
            ("a.pt", "b.pt"),
            f"stored://x@{'0' * 32}",
            "already contains its weights, so it cannot load a checkpoint's; evolve needs a network by name, such as",
        ),
        (("zzz://a/*.pt",), "deconvoy://zfnet-mini", "cannot be listed"),
    ],
)
def test_files_that_make_no_training_are_refused(tmp_path, files, source, told):
    named = [file if "://" in file else f"{tmp_path}/{file}" for file in files]
    with pytest.raises(SpecError, match=told):
        checkpoints.resolve(spec(*named, source=source))


def write(path, change: str = "", by: float = 0.0, classes: int = 101) -> None:
    torch.manual_seed(0)
    state = zfnet_mini(classes).state_dict()
    if change:
        state[change] += by
    save_file(state, path)


def test_a_layer_is_new_where_it_or_anything_below_it_has_changed(tmp_path):
    for number, (change, by) in enumerate(
        [("", 0), ("conv3.weight", 0.1), ("conv3.weight", 0.1), ("conv1.bias", 1.0), ("", 0)]
    ):
        write(tmp_path / f"{number}.safetensors", change, by)
    asked = checkpoints.resolve(spec(f"{tmp_path}/*.safetensors", root=str(tmp_path / "root")))
    last = models.load(asked.model)
    asked = asked.model_copy(update={"scan": asked.scan.model_copy(update={"layers": tuple(LAYERS)})})
    layers = last.network.select(LAYERS)
    found = checkpoints.load(asked, last)
    assert [each.source for each in found] == [
        (0, 0, 0, 0, 0),
        (0, 0, 1, 1, 1),
        (0, 0, 1, 1, 1),
        (3, 3, 3, 3, 3),
        (0, 0, 0, 0, 0),
    ]
    assert [[layer.name for layer in each.new_layers(layers)] for each in found[1:3]] == [["relu3", "relu5", "fc7"], []]
    assert [each.name for each in found] == ["0", "1", "2", "3", "4"]


def test_checkpoints_go_in_parts_that_fit_into_memory(monkeypatch):
    monkeypatch.setattr(pipeline, "HELD_BYTES", 10)
    assert pipeline._split_by_memory({0: 4, 2: 5, 3: 2, 5: 11, 6: 10}) == [{0, 2}, {3}, {5}, {6}]
    assert pipeline._split_by_memory({}) == []


def load(tmp_path, layers, **model) -> tuple[checkpoints.Checkpoint, ...]:
    asked = spec(f"{tmp_path}/*.safetensors", root=str(tmp_path / "root"))
    scan = asked.scan.model_copy(update={"layers": tuple(layers)})
    asked = asked.model_copy(update={"scan": scan, "model": asked.model.model_copy(update=model)})
    asked = checkpoints.use_last_finite(checkpoints.resolve(asked))
    return checkpoints.load(asked, models.load(asked.model))


def test_a_fine_tuned_checkpoint_may_have_another_head(tmp_path):
    write(tmp_path / "1.safetensors")
    write(tmp_path / "2.safetensors", "conv5.weight", 0.1, classes=5)
    assert [one.source for one in load(tmp_path, LAYERS[:-1])] == [(0, 0, 0, 0), (0, 0, 0, 1)]


def test_a_scanned_layer_of_two_shapes_is_refused_with_both_and_the_way_out(tmp_path):
    write(tmp_path / "1.safetensors", classes=5)
    write(tmp_path / "2.safetensors")
    refusal = (
        r"1\.safetensors' has layer 'fc7' of shape 5 x 1 x 1, but '.*2\.safetensors' has layer 'fc7' of shape 101 x 1 x 1; "
        r"checkpoints may differ only above the scanned layers: scan only layers below it, such as --layers relu5$"
    )
    with pytest.raises(ModelError, match=refusal):
        load(tmp_path, LAYERS)


def test_weights_that_do_not_fit_the_specs_number_of_classes_name_the_checkpoint_the_tensor_and_the_key(tmp_path):
    write(tmp_path / "1.safetensors", classes=5)
    write(tmp_path / "2.safetensors")
    refusal = (
        r"^checkpoint '.*1\.safetensors': .*fc7\.weight has shape \(5, 256\) instead of \(101, 256\); "
        r"model\.num_classes must fit every checkpoint, or be left out$"
    )
    with pytest.raises(ModelError, match=refusal):
        load(tmp_path, ["relu5"], num_classes=101)


def test_a_checkpoint_that_cannot_be_read_is_not_blamed_on_the_number_of_classes(tmp_path):
    (tmp_path / "1.safetensors").write_bytes(b"")
    write(tmp_path / "2.safetensors")
    with pytest.raises(ModelError, match=r"1\.safetensors") as refused:
        load(tmp_path, ["relu5"], num_classes=101)
    assert "num_classes" not in str(refused.value)


def test_a_checkpoint_with_fewer_layers_than_are_scanned_is_refused(tmp_path):
    write(tmp_path / "1.safetensors")
    write(tmp_path / "2.safetensors")
    asked = checkpoints.resolve(spec(f"{tmp_path}/*.safetensors"))
    last = models.load(asked.model)
    network = Network(last.network.nodes[:-1])
    with pytest.raises(ModelError, match=r"has layer 'fc7' of shape 101 x 1 x 1, but .* has no further layer"):
        checkpoints.model_of(asked, f"{tmp_path}/1.safetensors", replace(last, network=network), last.network.layers)


def test_checkpoints_that_have_diverged_are_left_out_and_named(tmp_path):
    for number, by in enumerate((0, float("nan"), 0.1, float("inf"), float("nan"))):
        write(tmp_path / f"{number}.safetensors", "conv3.weight", by)
    asked = checkpoints.use_last_finite(checkpoints.resolve(spec(f"{tmp_path}/*.safetensors")))
    assert asked.model.source.endswith("/2.safetensors") and len(asked.evolve.checkpoints) == 5
    lines: list[str] = []
    asked = asked.model_copy(update={"scan": asked.scan.model_copy(update={"layers": tuple(LAYERS)})})
    found = checkpoints.load(asked, models.load(asked.model), lines.append)
    assert [(each.number, each.name, each.source) for each in found] == [
        (0, "0", (0, 0, 0, 0, 0)),
        (1, "2", (0, 0, 1, 1, 1)),
    ]
    assert [line.partition(" is left out")[0] for line in lines] == [f"checkpoint '{number}'" for number in (1, 3, 4)]
    assert "conv3.weight holds NaN or infinity" in lines[0]


@pytest.mark.parametrize(("bad", "kind"), [((1, 2), DivergedError), ((0, 2), SpecError), ((0, 1, 2), DivergedError)])
def test_a_training_of_which_one_checkpoint_has_not_diverged_shows_no_change(bad, kind, tmp_path):
    for number in range(3):
        write(tmp_path / f"{number}.safetensors", "conv3.weight", float("nan") if number in bad else 0)
    with pytest.raises(kind, match=r"diverged; at least 2 usable (checkpoints|ones) are needed"):
        asked = checkpoints.use_last_finite(checkpoints.resolve(spec(f"{tmp_path}/*.safetensors")))
        checkpoints.load(asked, models.load(asked.model))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_refused_in_one_line(precision):
    values = spec("a.pt", "b.pt").model_dump(mode="json") | {"resources": {"precision": precision}}
    line = f"resources.precision: evolve supports float32 only, not {precision}; remove the key"
    with pytest.raises(SpecError, match=line) as raised:
        make(EvolutionRun, values)
    assert len(raised.value.problems) == 1
