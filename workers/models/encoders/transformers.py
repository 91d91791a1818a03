"""Image-text models of transformers. Takes a folder with their files, gives an encoder; runs no code of the folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from workers.errors import ModelError, nearest

# The types with an encoder of images and one of texts. Of others, the documents can name code.
TYPES = ("align", "altclip", "chinese_clip", "clip", "metaclip_2", "siglip", "siglip2")
_PADDED = ("siglip", "siglip2")  # trained with texts of a fixed length, in lower case


def load(folder: Path, source: str, device: str) -> "TransformersEncoder":
    """The encoder in a folder.

    Raises:
        ModelError: the network is of another type.
    """
    kind = str(json.loads((folder / "config.json").read_text()).get("model_type"))
    if kind not in TYPES:
        raise ModelError(
            f"{source} is a network of the type {kind!r}, which is not supported; {nearest(kind, TYPES, len(TYPES))}"
        )
    return TransformersEncoder(source, folder, kind, device)


class TransformersEncoder:
    """An image-text model, in float32."""

    def __init__(self, source: str, folder: Path, kind: str, device: str) -> None:
        own = {"local_files_only": True, "trust_remote_code": False}
        transformers.utils.logging.disable_progress_bar()
        self.library = f"transformers {transformers.__version__}"
        # The folder is local: nothing is downloaded. `attn_implementation` of its own document could name code of another
        # repository.
        model, loaded = transformers.AutoModel.from_pretrained(  # nosec B615
            folder,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation="sdpa",
            output_loading_info=True,
            **own,
        )
        absent = sorted(map(str, [*loaded["missing_keys"], *loaded["mismatched_keys"]]))
        if absent:  # transformers would give them random values
            count = "1 weight is missing or has" if len(absent) == 1 else f"{len(absent)} weights are missing or have"
            raise ModelError(f"{source}: {count} the wrong shape, such as {absent[0]}")
        self._model, self._device, self._kind = model.eval().requires_grad_(False).to(device), device, kind
        self._pictures = transformers.AutoImageProcessor.from_pretrained(folder, **own)  # nosec B615
        # A tokenizer.json needs no other package, and no class that the folder names.
        has_json = (folder / "tokenizer.json").is_file()
        kind_of_words = transformers.PreTrainedTokenizerFast if has_json else transformers.AutoTokenizer
        self._words = kind_of_words.from_pretrained(folder, **own)
        self._longest = int(self._model.config.text_config.max_position_embeddings)

    @torch.inference_mode()
    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """See `Encoder`."""
        prepared = self._pictures(images=list(pictures), return_tensors="pt").to(self._device)
        return _unit(self._model.get_image_features(**prepared))

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """See `Encoder`."""
        padding = "max_length" if self._kind in _PADDED else True
        if self._kind in _PADDED:
            texts = [text.lower() for text in texts]
        length = {"truncation": True, "max_length": self._longest}
        words = self._words(list(texts), padding=padding, return_tensors="pt", **length).to(self._device)
        return _unit(self._model.get_text_features(**words))


def _unit(features: Any) -> Tensor:  # noqa: ANN401 - a tensor, or transformers' record that holds it
    """Features, scaled to length 1, on the CPU."""
    values: Tensor = features if isinstance(features, Tensor) else features.pooler_output
    return normalize(values.float(), dim=-1).cpu()
