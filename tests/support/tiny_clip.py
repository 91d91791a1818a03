"""A tiny image-text model that knows colours. Takes an empty folder, trains the model, writes it as transformers does."""

import contextlib
import io
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.nn.functional import cross_entropy, normalize
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, PreTrainedTokenizerFast, logging

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 40),
    "blue": (30, 50, 220),
    "yellow": (230, 220, 40),
    "black": (10, 10, 10),
    "white": (245, 245, 245),
}
SIZE_PX, STEPS = 32, 120
_SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
_WORDS = (*_SPECIAL, "a", "photo", "of", "close", "-", "up", *COLOURS)
_TEMPLATES = ("{}", "a photo of {}", "a close-up of {}")
_PROCESSOR = CLIPImageProcessor(size={"shortest_edge": SIZE_PX}, crop_size={"height": SIZE_PX, "width": SIZE_PX})


def write(folder: Path) -> None:
    """Train the model, and write its files."""
    torch.manual_seed(0)
    words = _tokenizer()
    model = CLIPModel(_config()).train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    with torch.random.fork_rng():
        for step in range(STEPS):
            texts = words([_TEMPLATES[step % 3].format(name) for name in COLOURS], return_tensors="pt", padding=True)
            pictures = _pictures(torch.tensor(list(COLOURS.values())))
            seen = normalize(_plain(model.get_image_features(pixel_values=pictures)), dim=-1)
            said = normalize(_plain(model.get_text_features(**texts)), dim=-1)
            loss = cross_entropy(20 * seen @ said.T, torch.arange(len(COLOURS)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    logging.disable_progress_bar()
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        model.eval().save_pretrained(folder)
    words.save_pretrained(folder)
    _PROCESSOR.save_pretrained(folder)


def _plain(features: Any) -> torch.Tensor:
    return features if isinstance(features, torch.Tensor) else features.pooler_output


def _pictures(colours: torch.Tensor) -> torch.Tensor:
    """A noisy picture of each colour, in the scale of the model."""
    noisy = colours[:, :, None, None] + 25 * torch.randn(len(colours), 3, SIZE_PX, SIZE_PX)
    mean, std = (torch.tensor(getattr(_PROCESSOR, name))[:, None, None] for name in ("image_mean", "image_std"))
    return (noisy.clamp(0, 255) / 255 - mean) / std


def _tokenizer() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({word: n for n, word in enumerate(_WORDS)}, unk_token=_SPECIAL[3]))
    inner.normalizer, inner.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=16, **special)


def _config() -> CLIPConfig:
    both = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {
        "vocab_size": len(_WORDS),
        "max_position_embeddings": 16,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    return CLIPConfig(
        text_config=both | text | {"projection_dim": 16},
        vision_config=both | {"image_size": SIZE_PX, "patch_size": 16, "projection_dim": 16},
        projection_dim=16,
    )
