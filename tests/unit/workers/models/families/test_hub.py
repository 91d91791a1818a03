"""Networks of the Hugging Face Hub, of timm and of transformers: their numbers, their preprocessing, and what is refused."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support import snapshots as written
from tests.support.networks import output_of
from workers.core.preprocess import both
from workers.errors import ModelError, SpecError
from workers.models.families import transformers as classifiers
from workers.models.model import load, outline
from workers.spec.make import make
from workers.spec.parts import Interpolation, ModelSpec

pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "89abcdef" * 5


@pytest.fixture(scope="module")
def convnext(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "convnext"
    written.write_transformers(folder)
    return folder


@pytest.fixture(scope="module")
def resnet(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "resnet"
    written.write_timm(folder)
    return folder


def load_source(source, **values):
    return load(make(ModelSpec, {"source": source, **values}))


def test_a_network_of_timm_gives_the_numbers_of_its_module(resnet):
    module = written.write_timm(resnet)
    model, images = load_source(f"hf-hub:{resnet}"), torch.rand(2, 3, 160, 160)
    with torch.inference_mode():
        assert torch.equal(output_of(model.network, images), module(images))
    assert model.stored.class_names == ("tench, Tinca tinca", *(f"n{number}" for number in range(1, 7)))
    preprocessing = model.preprocessing
    assert (preprocessing.resize, preprocessing.crop) == (168, 160)
    assert (preprocessing.mean, preprocessing.interpolation) == ((0.5, 0.5, 0.5), Interpolation.BILINEAR)


def test_the_types_of_transformers_that_are_built_are_those_that_are_tested():
    assert set(written.SMALL) == set(classifiers.TYPES)


QUICK = ("convnext", "resnet")


@pytest.mark.parametrize(
    "kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in written.SMALL]
)
def test_a_network_of_transformers_gives_the_numbers_of_its_module(tmp_path, kind):
    module = written.write_transformers(tmp_path, kind)
    model, images = load_source(f"hf-hub:{tmp_path}"), torch.rand(2, 3, written.SIDE, written.SIDE)
    with torch.inference_mode():
        expected = module(images).logits
    torch.testing.assert_close(
        output_of(model.network, images), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max())
    )
    assert model.stored.class_names == tuple(f"class {number}" for number in range(5))
    assert expected.std() > 0


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"resample": 2, "rescale_factor": 1 / 127.5},
        {"do_normalize": False, "resample": 2},
        {"do_rescale": False, "image_mean": [120, 115, 100], "image_std": [60, 61, 62]},
        {"image_processor_type": None, "feature_extractor_type": "ConvNextFeatureExtractor", "size": 48},
        {
            "image_processor_type": "MobileNetV2ImageProcessor",
            "size": {"shortest_edge": 72},
            "crop_size": 64,
            "do_center_crop": True,
        },
        {
            "image_processor_type": "BitImageProcessorFast",
            "crop_size": {"height": 60, "width": 60},
            "do_center_crop": True,
        },
        {"size": {"shortest_edge": 384}},
    ],
)
def test_images_are_prepared_as_by_the_processor_of_transformers(change):
    prepared = {**written.PREPARED, **change}
    ours = classifiers.preprocessing_of("hf-hub:x", prepared)
    name = prepared["image_processor_type"] or "ConvNextImageProcessor"
    processor = getattr(transformers, name.removesuffix("Fast")).from_dict(dict(prepared))
    # Twice the resized sides, of which the crop leaves an even rest: transformers rounds half a pixel down, torchvision to even.
    height, _ = both(ours.resize)
    sides = (2 * height, 2 * (ours.size[1] + 20), 3)
    pixels = np.random.default_rng(0).integers(0, 256, sides, np.uint8)
    theirs = processor(torch.from_numpy(pixels).permute(2, 0, 1), return_tensors="pt").pixel_values
    torch.testing.assert_close(ours.normalise(ours.prepare(pixels, 10**9)[None]), theirs, rtol=1e-5, atol=1e-5)


def test_the_weights_of_a_fine_tuned_network_come_from_a_file(tmp_path, resnet):
    module = written.write_timm(tmp_path / "other", classes=4)
    torch.save(module.state_dict(), tmp_path / "mine.pth")
    model, images = load_source(f"hf-hub:{resnet}?weights={tmp_path / 'mine.pth'}"), torch.rand(1, 3, 160, 160)
    with torch.inference_mode():
        assert torch.equal(output_of(model.network, images), module(images))
    assert model.stored.class_names == ()


def test_a_network_of_timm_that_transformers_has_wrapped_is_read(tmp_path):
    wrapper = transformers.TimmWrapperForImageClassification(
        transformers.TimmWrapperConfig(architecture="test_resnet", num_labels=7)
    ).eval()
    wrapper.save_pretrained(tmp_path)
    model, images = load_source(f"hf-hub:{tmp_path}"), torch.rand(1, 3, 160, 160)
    with torch.inference_mode():
        assert torch.equal(output_of(model.network, images), wrapper(images).logits)
    is_prefixed = all(key.startswith("timm_model.") for key in load_file(tmp_path / "model.safetensors"))
    removed = ("the prefix 'timm_model.' was removed from the keys",)
    assert model.notes == (removed if is_prefixed else ())  # older versions of transformers write none


class Answer:
    """What the Hub's dry run answers."""

    def __init__(self, commit, size):
        self.commit_hash, self.file_size = commit, size


class FakeHub:
    """The Hub's download of one repository, whose branch `main` can move; counts what is downloaded."""

    def __init__(self, commits: dict[str, Path], main: str):
        self.commits, self.main, self.downloads, self.sizes = commits, main, list[str](), dict[str, int]()

    def hf_hub_download(self, repository, file, *, revision, dry_run):
        from huggingface_hub import errors

        if repository != "org/net":
            raise errors.RepositoryNotFoundError("404 Client Error.\n\nRepository Not Found", response=not_found())
        commit = self.main if revision == "main" else revision
        if commit not in self.commits:
            raise errors.RevisionNotFoundError("404 Client Error.\n\nRevision Not Found", response=not_found())
        path = self.commits[commit] / file
        if not path.exists():
            raise errors.RemoteEntryNotFoundError("404 Client Error.\n\nEntry Not Found", response=not_found())
        if dry_run:
            return Answer(commit, self.sizes.get(file, path.stat().st_size))
        self.downloads.append(f"{file}@{revision}")
        return str(path)


def not_found():
    errors = importlib.import_module("huggingface_hub.errors")
    library = sys.modules[errors.Response.__module__.partition(".")[0]]  # httpx or its successor
    return library.Response(404, request=library.Request("HEAD", "https://huggingface.co/org/net"))


@pytest.fixture
def hub(monkeypatch, resnet, convnext):
    fake = FakeHub({COMMIT: resnet, OTHER: convnext}, COMMIT)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fake.hf_hub_download)
    return fake


def test_a_branch_is_pinned_to_its_commit_and_recorded_as_such(hub, resnet):
    model = load_source("hf-hub:org/net@main")
    assert model.stored.source == f"hf-hub:org/net@{COMMIT}"
    assert model.fingerprint == load_source(f"hf-hub:{resnet}").fingerprint
    assert {download.partition("@")[2] for download in hub.downloads} == {COMMIT}
    hub.main = OTHER
    assert load_source("hf-hub:org/net@main").fingerprint != model.fingerprint
    assert load_source(model.stored.source).fingerprint == model.fingerprint


def test_the_layers_of_a_network_on_the_hub_need_no_weights(hub):
    assert [layer.name for layer in outline(make(ModelSpec, {"source": "hf-hub:org/net@main"})).layers][-1] == "fc"
    assert {download.partition("@")[0] for download in hub.downloads} == {"config.json"}


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (
            "hf-hub:org/none@main",
            r"no model 'org/none' on the Hugging Face Hub, or it is private: log in with `hf auth login`",
        ),
        ("hf-hub:org/net@v9", r"model 'org/net' has no revision 'v9' on the Hugging Face Hub"),
        (
            "hf-hub:org/net",
            r"must be hf-hub:ORG/NAME@REVISION, where REVISION is a commit, tag or branch, or hf-hub:FOLDER",
        ),
        ("hf-hub:net@main", r"must be hf-hub:ORG/NAME@REVISION"),
        ("hf-hub:org/net@../../x", r"must be hf-hub:ORG/NAME@REVISION"),
        ("hf-hub:org/net@/etc", r"must be hf-hub:ORG/NAME@REVISION"),
        ("hf-hub:/none/there", r"hf-hub:/none/there has no config.json; is it a network of timm or transformers\?"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_what_the_hub_does_not_have_is_one_line(source, line):
    refuse(source, line)


def refuse(source: str, line: str, **values) -> None:
    with pytest.raises((ModelError, SpecError), match=line) as raised:
        load_source(source, **values)
    assert len(str(raised.value).splitlines()) == 1


def test_a_file_of_weights_that_is_far_too_large_is_not_downloaded(hub):
    hub.sizes["model.safetensors"] = 10**12
    refuse("hf-hub:org/net@main", r"model.safetensors of hf-hub:org/net@0123\w+ is 1,000,000 MB; at most 20,000 MB")
    assert "model.safetensors" not in "".join(hub.downloads)


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("OfflineModeIsEnabled", "cannot be downloaded: no route"),
        ("HTTPError", "config.json of org/net@main cannot be downloaded: no route"),
        (
            "LocalEntryNotFoundError",
            r"the Hugging Face Hub cannot be reached, .* run `hf download org/net --revision main --local-dir FOLDER`",
        ),
        ("GatedRepoError", r"org/net is gated: accept its conditions at https://huggingface.co/org/net"),
    ],
)
def test_a_hub_that_refuses_or_cannot_be_reached_is_one_line(monkeypatch, kind, line):
    from huggingface_hub import errors

    error = getattr(errors, kind)
    more = {"response": not_found()} if issubclass(error, errors.HfHubHTTPError) else {}

    def fail(*_, **__):
        raise error("no route\n\nsee the documentation", **more)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    refuse("hf-hub:org/net@main", line)


def test_the_hub_itself_is_asked_by_arguments_that_it_has(monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    refuse(
        "hf-hub:org/net@main",
        r"the Hugging Face Hub cannot be reached, and config.json of org/net@main is not in its cache",
    )


@pytest.mark.parametrize(
    ("package", "source", "line"),
    [
        ("huggingface_hub", "hf-hub:org/net@main", r"huggingface_hub is not installed: pip install 'deconvoy\[hub\]'"),
        ("timm", "hf-hub:{resnet}", r"timm is not installed: pip install 'deconvoy\[timm\]'"),
        ("transformers", "hf-hub:{convnext}", r"transformers is not installed: pip install 'deconvoy\[hub\]'"),
    ],
)
def test_without_its_package_the_line_says_how_to_install_it(monkeypatch, resnet, convnext, package, source, line):
    monkeypatch.setitem(sys.modules, package, None)
    refuse(source.format(resnet=resnet, convnext=convnext), line)


def config(folder: Path, **values) -> None:
    (folder / "config.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({}, r"is not a network of timm or transformers: its config.json has neither 'architecture' nor 'model_type'"),
        (
            {"architecture": "resnet1888"},
            r"needs the network 'resnet1888', which timm does not have; nearest: resnet18",
        ),
        ({"architecture": "hf-hub:org/other"}, r"needs the network 'hf-hub:org/other', which timm does not have"),
        ({"architecture": "local-dir:/etc"}, r"needs the network 'local-dir:/etc', which timm does not have"),
        (
            {"architecture": "test_resnet", "model_args": {"checkpoint_path": "/etc/passwd"}},
            r"timm's argument 'checkpoint_path' names other",
        ),
        (
            {"architecture": "test_resnet", "pretrained_cfg": {"crop_mode": "spiral"}},
            r"timm's mode 'spiral'; center, squash, border are supported",
        ),
        (
            {"architecture": "test_resnet", "pretrained_cfg": {"mean": 3}},
            r"the configuration of hf-hub:\S+ cannot be used",
        ),
        ({"model_type": "vit"}, r"is a network of the type 'vit', which is not supported; nearest: bit"),
        ({"model_type": ["vit"]}, r"is a network of the type \['vit'\]"),
        (
            {"model_type": "resnet", "architectures": ["ResNetModel"]},
            r"is a ResNetModel; only image classifiers are supported",
        ),
        ({"model_type": "resnet"}, r"has no preprocessor_config.json"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_line(tmp_path, values, line):
    config(tmp_path, **values)
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    refuse(f"hf-hub:{tmp_path}", line)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"image_processor_type": "ViTImageProcessor"},
            r"prepares images with ViTImageProcessor, which is not supported; nearest: ",
        ),
        (
            {"image_processor_type": "BitImageProcessor", "do_center_crop": False},
            r"only a resize of the short side with a centre crop is supported",
        ),
        ({"resample": 0}, r"with Pillow's filter .*0.*; only 2 \(bilinear\) and 3 \(bicubic\) are supported"),
        ({"image_mean": [0.5]}, r"the configuration of hf-hub:\S+ cannot be used"),
    ],
)
def test_images_that_are_prepared_otherwise_are_refused(tmp_path, change, line):
    config(tmp_path, model_type="convnext")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**written.PREPARED, **change}))
    refuse(f"hf-hub:{tmp_path}", line)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        (
            "pytorch_model.bin",
            r"has pytorch_model.bin but no model.safetensors, .*: hf-hub:\S+\?weights=\S+/pytorch_model.bin reads",
        ),
        ("model.safetensors.index.json", r"are in several files; write them to a single one, model.safetensors"),
        ("flax_model.msgpack", r"has no model.safetensors; only safetensors are read"),
    ],
)
def test_other_files_of_weights_are_refused_with_the_safe_way(tmp_path, resnet, file, line):
    (tmp_path / "config.json").write_text((resnet / "config.json").read_text())
    (tmp_path / file).write_bytes(b"")
    refuse(f"hf-hub:{tmp_path}", line)


def test_the_safe_way_works(tmp_path, resnet):
    module = written.write_timm(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(module.state_dict(), tmp_path / "pytorch_model.bin")
    model = load_source(f"hf-hub:{tmp_path}?weights={tmp_path / 'pytorch_model.bin'}")
    assert model.fingerprint == load_source(f"hf-hub:{resnet}").fingerprint


def test_a_repository_without_safetensors_is_refused_with_the_safe_way(hub, tmp_path, resnet):
    (tmp_path / "config.json").write_text((resnet / "config.json").read_text())
    hub.commits[COMMIT] = tmp_path
    refuse(
        "hf-hub:org/net@main",
        r"has no model.safetensors, .*; download its pytorch_model.bin, and give hf-hub:org/net@0123\w+\?weights=FILE",
    )


def test_the_checkpoint_of_another_network_is_refused(tmp_path, resnet, convnext):
    (tmp_path / "config.json").write_text((resnet / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((convnext / "model.safetensors").read_bytes())
    refuse(f"hf-hub:{tmp_path}", r"the weights do not fit 'hf-hub:\S+': \d+ missing \(.*\d+ unused")


def test_arguments_of_timm_that_name_files_are_refused():
    refuse(
        "timm://test_resnet",
        r"timm's argument 'checkpoint_path' names other weights or files",
        kwargs={"checkpoint_path": "/etc/passwd"},
    )


def test_settings_that_transformers_does_not_have_are_refused(convnext):
    refuse(f"hf-hub:{convnext}", r"has no setting 'depth'; nearest: depths", kwargs={"depth": 3})


def test_code_in_a_configuration_is_never_run(tmp_path):
    module = written.write_transformers(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    config(tmp_path, **values, auto_map={"AutoModelForImageClassification": "evil.Evil", "AutoConfig": "evil.Config"})
    (tmp_path / "evil.py").write_text("raise SystemExit(3)")
    images = torch.rand(1, 3, written.SIDE, written.SIDE)
    with torch.inference_mode():
        expected = module(images).logits
    torch.testing.assert_close(output_of(load_source(f"hf-hub:{tmp_path}").network, images), expected)


def test_keys_of_a_configuration_that_the_network_does_not_define_never_reach_transformers():
    keys = ("attn_implementation", "_attn_implementation", "experts_implementation", "quantization_config", "unknown")
    config = {"model_type": "resnet", **written.SMALL["resnet"], **dict.fromkeys(keys, "kernels-community/none")}
    module: Any = classifiers.build("hf-hub:x", {**config, "dtype": "bfloat16"}, {})
    settings = module.config
    assert settings.hidden_sizes == written.SMALL["resnet"]["hidden_sizes"]
    assert settings.dtype is None
    assert "kernels-community/none" not in vars(settings).values()


@pytest.mark.parametrize("key", ["attn_implementation", "dtype"])
def test_keys_that_the_network_does_not_define_are_refused_as_arguments(key):
    with pytest.raises(ModelError, match=f"hf-hub:x has no setting '{key}'"):
        classifiers.build("hf-hub:x", {"model_type": "resnet"}, {key: "kernels-community/none"})


@pytest.mark.parametrize("kind", ["convnext", "resnet"])
def test_the_number_of_classes_of_a_network_of_transformers_comes_from_the_file(tmp_path, kind):
    written.write_transformers(tmp_path, kind)
    weights = tmp_path / "mine.safetensors"
    save_file(written.transformers_module(kind, classes=20).state_dict(), weights)
    model = load_source(f"hf-hub:{tmp_path}?weights={weights}")
    assert model.network.nodes[model.network.output].shape[0] == 20
    assert model.stored.class_names == ()


def test_a_number_of_classes_replaces_the_names_of_a_configuration(caplog):
    names = {str(number): f"class {number}" for number in range(1000)}
    config = {"model_type": "resnet", **written.SMALL["resnet"], "id2label": names}
    module: Any = classifiers.build("hf-hub:x", config, {"num_classes": 20})
    assert (module.config.num_labels, len(module.classifier[-1].weight)) == (20, 20)
    assert not caplog.records
