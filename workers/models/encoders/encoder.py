"""Image-text models, such as CLIP. Takes the files of a snapshot, gives an encoder of images and texts into one space."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from workers.errors import ExtraError, ModelError
from workers.host import memory
from workers.host.retrying import reason

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

INSTALL = "pip install 'deconvoy[clip]'"
TRANSFORMERS, OPEN_CLIP = "config.json", "open_clip_config.json"

# The module that reads a snapshot, by the file that marks it. open_clip's snapshots may also hold a file for transformers.
_LIBRARIES: Mapping[str, str] = {
    OPEN_CLIP: "workers.models.encoders.open_clip",
    TRANSFORMERS: "workers.models.encoders.transformers",
}

WEIGHTS = ("model.safetensors", "open_clip_model.safetensors")
_DIFFERENT = ("a red bus", "two dogs on a beach")  # texts that every vocabulary distinguishes

# All that is read of a snapshot: documents, vocabularies, and weights as data.
FILES = (
    *_LIBRARIES,
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    *WEIGHTS,
)


class Encoder(Protocol):
    """An image-text model on a device.

    Attributes:
        library: the package that runs it, with its version.
    """

    library: str

    def images(self, pictures: "Sequence[Image.Image]") -> "Tensor":
        """The embeddings of RGB pictures of any size: float32 (pictures, dimensions), each of length 1."""

    def texts(self, texts: Sequence[str]) -> "Tensor":
        """The embeddings of texts: float32 (texts, dimensions), each of length 1."""


def load(folder: Path, source: str, device: str = "cpu") -> Encoder:
    """The encoder in a folder.

    Args:
        folder: a local folder with the files of a snapshot.
        source: where they come from, for errors.
        device: cpu or cuda.

    Raises:
        ModelError: the files are not those of an image-text model that is supported.
        ExtraError: the package that runs it is not installed.
    """
    mark = next((name for name in _LIBRARIES if (folder / name).is_file()), None)
    if mark is None:
        raise ModelError(f"{source} has no {TRANSFORMERS} or {OPEN_CLIP}; is it an image-text model?")
    if not any((folder / name).is_file() for name in WEIGHTS):
        raise ModelError(f"{source} has no {' or '.join(WEIGHTS)}; only safetensors are read")
    try:
        make: Callable[[Path, str, str], Encoder] = import_module(_LIBRARIES[mark]).load
        return _require_words(make(folder, source, device), source)
    except ImportError as error:
        what = f"a package that is not installed ({error.name}): {INSTALL}" if error.name else reason(error)
        raise ExtraError(f"image-text model {source} needs {what}") from None
    except ModelError:
        raise
    except Exception as error:  # the libraries raise anything for files that they do not expect
        if memory.is_exhausted(error):
            raise
        raise ModelError(f"image-text model {source} cannot be read: {reason(error)}") from error


def _require_words(encoder: Encoder, source: str) -> Encoder:
    """The encoder, if its vocabulary tells texts apart: without the vocabulary's file, all words are unknown ones.

    Raises:
        ModelError: it does not.
    """
    one, other = encoder.texts(_DIFFERENT)
    if bool((one == other).all()):
        raise ModelError(f"{source} has no vocabulary: all texts are the same to it; is tokenizer.json missing?")
    return encoder
