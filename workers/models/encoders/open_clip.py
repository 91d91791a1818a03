"""Image-text models of open_clip. Takes a folder with their files, gives an encoder; runs no code of the folder."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import open_clip
import torch
from PIL import Image
from torch import Tensor

from workers.errors import ModelError

_TOKENIZER_KEYS = {"clean", "strip_sep_token", "language"}  # others go to transformers, and can make it run code


def load(folder: Path, source: str, device: str) -> "OpenClipEncoder":
    """The encoder in a folder.

    Raises:
        ModelError: a part of it is in another repository, or its configuration could make transformers run code.
    """
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    text, tower = config["text_cfg"], str(config["vision_cfg"].get("timm_model_name") or "")
    elsewhere = text.get("hf_model_name") or (tower if ":" in tower else "")
    if elsewhere:
        raise ModelError(f"{source} takes a part of its network from {elsewhere!r}, which is not supported")
    unknown = sorted({*(text.get("tokenizer_kwargs") or ())} - _TOKENIZER_KEYS)
    if unknown:
        raise ModelError(f"{source} sets the tokenizer option {unknown[0]!r}, which is not supported")
    return OpenClipEncoder(folder, device, trust={"trust_remote_code": False} if text.get("hf_tokenizer_name") else {})


class OpenClipEncoder:
    """An image-text model, in float32."""

    def __init__(self, folder: Path, device: str, trust: Mapping[str, bool]) -> None:
        self.library = f"open_clip {open_clip.__version__}"
        name = f"local-dir:{folder}"
        model, self._prepare = open_clip.create_model_from_pretrained(name, device=device, precision="fp32")
        self._model, self._device = model.eval().requires_grad_(False), device
        self._words = open_clip.get_tokenizer(name, **trust)

    @torch.inference_mode()
    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """See `Encoder`."""
        prepared = torch.stack([self._prepare(picture) for picture in pictures]).to(self._device)
        features: Tensor = self._model.encode_image(prepared, normalize=True)
        return features.float().cpu()

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """See `Encoder`."""
        features: Tensor = self._model.encode_text(self._words(list(texts)).to(self._device), normalize=True)
        return features.float().cpu()
