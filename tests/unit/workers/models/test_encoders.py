"""Image-text models: those of open_clip by its own functions, errors of one line, copies under a root."""

import json
import shutil
import sys
from pathlib import Path

import fsspec
import open_clip
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch.nn.functional import normalize

from tests.support import tiny_clip
from workers.errors import DamagedFile, ExtraError, ModelError, NodeError
from workers.models.encoders import encoder, stored
from workers.store import paths
from workers.store.root import Root

VISION = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
MODEL = {"embed_dim": 12, "vision_cfg": VISION, "text_cfg": TEXT}
TRUSTING = {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}}
ALLOCATOR = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"
SCALE = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """A tiny model of open_clip with random weights."""
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    model = open_clip.CLIP(**MODEL)
    safetensors.torch.save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": SCALE}))
    return folder


def test_an_encoder_of_open_clip_gives_the_embeddings_of_its_model(clip):
    loaded = encoder.load(clip, "tiny")
    model = open_clip.CLIP(**MODEL)
    model.load_state_dict(safetensors.torch.load_file(clip / "open_clip_model.safetensors"))
    model.eval()
    pictures = [Image.new("RGB", (32, 32), colour) for colour in ("red", "navy", "white")]
    pixels = torch.stack([torch.tensor(picture.getpixel((0, 0))) / 255 for picture in pictures])
    plain = ((pixels - 0.5) / 0.25)[:, :, None, None].expand(-1, -1, 32, 32)
    with torch.inference_mode():
        seen = normalize(model.encode_image(plain), dim=-1)
        said = normalize(model.encode_text(open_clip.SimpleTokenizer()(["a red square", "sky"])), dim=-1)
    torch.testing.assert_close(loaded.images(pictures), seen, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(loaded.texts(["a red square", "sky"]), said, atol=1e-5, rtol=1e-4)
    assert loaded.library == f"open_clip {open_clip.__version__}"


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({}, "x has no config.json or open_clip_config.json; is it an image-text model"),
        (
            {"config.json": {"model_type": "bert"}},
            "x is a network of the type 'bert', which is not supported; nearest: |available: ",
        ),
        ({"config.json": {"model_type": "clip"}}, "image-text model x cannot be read: "),
        ({"config.json": []}, "image-text model x cannot be read: "),
        (
            {"open_clip_config.json": {"model_cfg": {"text_cfg": {"hf_model_name": "org/text"}, "vision_cfg": {}}}},
            "x takes a part of its network from 'org/text', which is not supported",
        ),
        (
            {"open_clip_config.json": {"model_cfg": {"text_cfg": {}, "vision_cfg": {"timm_model_name": "hf-hub:a/b"}}}},
            "x takes a part of its network from 'hf-hub:a/b', which is not supported",
        ),
        (
            {"open_clip_config.json": {"model_cfg": {"text_cfg": TRUSTING, "vision_cfg": {}}}},
            "x sets the tokenizer option 'trust_remote_code', which is not supported",
        ),
    ],
)
def test_what_is_not_an_image_text_model_is_refused_in_one_line(tmp_path, files, error):
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    if files:
        (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelError, match=error) as raised:
        encoder.load(tmp_path, "x")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("missing", ["open_clip", "workers.models.encoders.open_clip"])
def test_a_missing_package_names_the_extra(clip, monkeypatch, missing):
    monkeypatch.delitem(sys.modules, "workers.models.encoders.open_clip", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ExtraError, match=r"pip install 'deconvoy\[clip\]'"):
        encoder.load(clip, "x")


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(ALLOCATOR)]
)
def test_too_little_memory_is_no_fault_of_the_model(clip, monkeypatch, error):
    def load(*_: object) -> None:
        raise error

    monkeypatch.setattr("workers.models.encoders.open_clip.load", load)
    with pytest.raises(type(error)) as raised:
        encoder.load(clip, "x")
    assert raised.value is error


def test_a_root_holds_a_copy_that_is_verified_locally_and_in_a_bucket(clip, tmp_path):
    [picture] = [Image.new("RGB", (8, 8), "red")]
    with stored.opened(f"hf-hub:{clip}") as (facts, folder):
        assert facts.files == ("open_clip_config.json", "open_clip_model.safetensors")
        expected = encoder.load(folder, "x").images([picture])
        for root in (Root(str(tmp_path / "root")), Root("memory://encoders-test")):
            stored.write(root, facts, folder)
            stored.write(root, facts, folder)  # nothing is copied again
            torch.testing.assert_close(stored.read(root, facts).images([picture]), expected)
            path = paths.encoder_path(facts.fingerprint, "open_clip_config.json")
            root.put(path, root.read(path) + b" ")
            with pytest.raises(DamagedFile, match="is damaged: its files have the hash"):
                stored.read(root, facts)
            root.delete(path)
            with pytest.raises(NodeError, match="cannot find"):
                stored.read(root, facts)
    assert (clip / "open_clip_model.safetensors").is_file()


def test_a_folder_that_is_a_url_is_copied_and_has_the_same_fingerprint(clip):
    store = fsspec.filesystem("memory")
    for path in clip.iterdir():
        store.pipe_file(f"/clips/tiny/{path.name}", path.read_bytes())
    with stored.opened(f"hf-hub:{clip}") as (local, _), stored.opened("hf-hub:memory://clips/tiny") as (copied, folder):
        assert copied.fingerprint == local.fingerprint and copied.source == "hf-hub:memory://clips/tiny"
        assert encoder.load(folder, "x").texts(["red"]).shape == (1, 12)
    assert not folder.exists()


@pytest.fixture(scope="module")
def colours(tmp_path_factory) -> Path:
    """A tiny model of transformers that knows colours."""
    folder = tmp_path_factory.mktemp("colours")
    tiny_clip.write(folder)
    return folder


def test_other_files_of_a_folder_are_not_read(colours, tmp_path):
    shutil.copytree(colours, tmp_path / "more")
    for name in ("pytorch_model.bin", "adapter_config.json", "evil.py"):
        (tmp_path / "more" / name).write_text("{}")
    with stored.opened(f"hf-hub:{tmp_path / 'more'}") as (facts, folder):
        assert sorted(path.name for path in folder.iterdir()) == sorted(facts.files)
        assert not {"pytorch_model.bin", "adapter_config.json", "evil.py"} & {*facts.files}


def test_missing_weights_and_vocabularies_are_errors_not_noise(colours, tmp_path):
    lacking = tmp_path / "lacking"
    shutil.copytree(colours, lacking)
    weights = safetensors.torch.load_file(lacking / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith("text_model.encoder")}
    safetensors.torch.save_file(kept, lacking / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"weights are missing or have the wrong shape, such as text_model\.encoder"):
        encoder.load(lacking, "x")
    (lacking / "model.safetensors").unlink()
    with pytest.raises(
        ModelError, match=r"x has no model\.safetensors or open_clip_model\.safetensors; only safetensors"
    ):
        encoder.load(lacking, "x")


def test_a_vocabulary_without_words_is_an_error(colours, tmp_path):
    wordless = tmp_path / "wordless"
    shutil.copytree(colours, wordless)
    words = json.loads((wordless / "tokenizer.json").read_text())
    words["model"]["vocab"] = {word: number for word, number in words["model"]["vocab"].items() if number < 4}
    words["post_processor"] = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}],
                               "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}  # fmt: skip
    (wordless / "tokenizer.json").write_text(json.dumps(words))
    with pytest.raises(ModelError, match="x has no vocabulary: all texts are the same to it"):
        encoder.load(wordless, "x")


def test_code_in_a_folder_is_not_run(colours, tmp_path):
    tiny = tmp_path / "tiny"
    shutil.copytree(colours, tiny)
    config = json.loads((tiny / "config.json").read_text())
    code = {"auto_map": {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"}}
    (tiny / "config.json").write_text(json.dumps(config | code))
    (tiny / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    assert encoder.load(tiny, "x").texts(["red"]).shape == (1, 16)
    assert not (tmp_path / "ran").exists()
    shutil.rmtree(tiny)
