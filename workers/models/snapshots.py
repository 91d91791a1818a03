"""Snapshots of the Hugging Face Hub. Takes ORG/NAME@REVISION or a folder, gives its documents and its file of weights as data.

A folder is a path or an fsspec URL with the files of a repository. Nothing in a snapshot is run, and only safetensors are read.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from workers import files
from workers.errors import ModelError
from workers.host.retrying import reason
from workers.spec import families
from workers.spec.families import HUB, WEIGHTS

CONFIG = "config.json"
SAFETENSORS = "model.safetensors"
PREPROCESSOR = "preprocessor_config.json"  # only transformers writes it
FILES = (CONFIG, PREPROCESSOR, SAFETENSORS)  # all that is read of a snapshot
PICKLE = "pytorch_model.bin"
INDEX = "model.safetensors.index.json"
DOCUMENT_BYTES = 16 << 20  # the names of ImageNet-21k's classes take 2 MB
WEIGHTS_BYTES = 20_000_000_000
COMMIT = 40  # hexadecimal digits
INSTALL = "pip install 'deconvoy[hub]'"


def pin(name: str) -> str:
    """The name of a snapshot that stays the same: a branch or tag becomes the commit that it is at. Folders do not change.

    Raises:
        ModelError: the Hub has no such repository or revision, or cannot be reached.
    """
    if families.snapshot_folder(HUB.source(name)) is not None:
        return name
    repository, _, revision = name.partition("@")
    return f"{repository}@{_ask(repository, revision, CONFIG).commit_hash}"


def document(name: str, file: str) -> Mapping[str, Any]:
    """A JSON file of a snapshot.

    Raises:
        ModelError: it is missing, far too large, or not a JSON object.
    """
    path = _path(name, file, DOCUMENT_BYTES)
    try:
        values = json.loads(files.read(path, DOCUMENT_BYTES))
    except FileNotFoundError:
        raise ModelError(f"{HUB.source(name)} has no {file}; is it a network of timm or transformers?") from None
    except (OSError, ValueError, ImportError, RecursionError) as error:
        raise ModelError(f"{path!r} cannot be read: {reason(error)}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path!r} is not a JSON object")
    return values


def weights(name: str) -> str:
    """The file of weights of a snapshot, as a path or URL; downloads it if it is on the Hub.

    Raises:
        ModelError: the snapshot has no safetensors file, or it cannot be downloaded.
    """
    if families.snapshot_folder(HUB.source(name)) is not None and not _exists(_join(name, SAFETENSORS)):
        raise ModelError(_explain_missing(name, [file for file in (PICKLE, INDEX) if _exists(_join(name, file))]))
    return _path(name, SAFETENSORS, WEIGHTS_BYTES)


def local_copy(name: str, wanted: Sequence[str], folder: Path) -> tuple[Path, str]:
    """A local folder with those of the wanted files that a snapshot has, and the snapshot's name with its commit.

    Args:
        name: ORG/NAME@REVISION or a folder.
        wanted: names of files.
        folder: an empty local folder, for files that a URL names.

    Raises:
        ModelError: the snapshot does not exist, or cannot be read.
    """
    if families.snapshot_folder(HUB.source(name)) is None:
        repository, _, revision = name.partition("@")
        hub = _hub()
        with _explained(hub, repository, revision, "a file"):
            download = partial(hub.snapshot_download, repository, revision=revision, allow_patterns=list(wanted))
            _check_size(repository, sum(file.file_size for file in download(dry_run=True)))
            path = Path(download())
        return path, f"{repository}@{path.name}"
    try:
        store, inner = files.filesystem(name)
        if files.is_local(store):
            return Path(inner), name
        for file in wanted:
            if store.exists(_join(inner, file)):
                _check_size(name, store.size(_join(inner, file)) or 0)
                store.get_file(_join(inner, file), str(folder / file))
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"{name!r} cannot be read: {reason(error)}") from error
    return folder, name


def _check_size(name: str, size: int) -> None:
    if size > WEIGHTS_BYTES:
        raise ModelError(f"{name} takes {size / 1e6:,.0f} MB; at most {WEIGHTS_BYTES / 1e6:,.0f} MB are accepted")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the Hub's own messages, such as those about each retry; an error says enough."""
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        hub.setLevel(level)


def _join(folder: str, file: str) -> str:
    return f"{folder.rstrip('/')}/{file}"


def _exists(path: str) -> bool:
    try:
        store, inner = files.filesystem(path)
        return bool(store.exists(inner))
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"{path!r} cannot be read: {reason(error)}") from error


def _explain_missing(name: str, others: list[str]) -> str:
    source = HUB.source(name)
    if PICKLE in others:
        way_out = f"{source}{WEIGHTS}{_join(name, PICKLE)} reads its tensors and nothing else"
        return f"{source} has {PICKLE} but no {SAFETENSORS}, and pickled files can hold code: {way_out}"
    if INDEX in others:
        return f"the weights of {source} are in several files; write them to a single one, {SAFETENSORS}"
    return f"{source} has no {SAFETENSORS}; only safetensors are read"


def _path(name: str, file: str, most_bytes: int) -> str:
    """The path or URL of a file of a snapshot; one on the Hub is downloaded."""
    if families.snapshot_folder(HUB.source(name)) is not None:
        return _join(name, file)
    repository, _, revision = name.partition("@")
    known = _ask(repository, revision, file)
    if (known.file_size or 0) > most_bytes:
        raise ModelError(
            f"{file} of {HUB.source(name)} is {known.file_size / 1e6:,.0f} MB; "
            f"at most {most_bytes / 1e6:,.0f} MB are accepted"
        )
    return str(_call(repository, known.commit_hash, file, dry_run=False))


def _ask(repository: str, revision: str, file: str) -> Any:  # noqa: ANN401 - the Hub's own value
    """What the Hub, or its local cache, knows about a file: its size and its commit."""
    return _call(repository, revision, file, dry_run=True)


def _call(repository: str, revision: str, file: str, *, dry_run: bool) -> Any:  # noqa: ANN401 - the Hub's own value
    hub = _hub()
    with _explained(hub, repository, revision, file):
        return hub.hf_hub_download(repository, file, revision=revision, dry_run=dry_run)


@contextmanager
def _explained(hub: Any, repository: str, revision: str, file: str) -> Iterator[None]:  # noqa: ANN401 - the Hub's package
    """Translate the Hub's errors in the block, and silence its messages.

    Raises:
        ModelError: one line, with the way out.
    """
    errors = hub.errors
    try:
        with quiet():
            yield
    except errors.GatedRepoError as error:
        page = f"https://huggingface.co/{repository}"
        raise ModelError(
            f"{repository} is gated: accept its conditions at {page} and log in with `hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"no model {repository!r} on the Hugging Face Hub, or it is private: log in with `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"model {repository!r} has no revision {revision!r} on the Hugging Face Hub") from error
    except errors.LocalEntryNotFoundError as error:
        raise ModelError(_explain_offline(repository, revision, file)) from error
    except errors.EntryNotFoundError as error:
        raise ModelError(_explain_absent(repository, revision, file)) from error
    except (OSError, ValueError, errors.HTTPError) as error:
        raise ModelError(f"{file} of {repository}@{revision} cannot be downloaded: {reason(error)}") from error


def _hub() -> ModuleType:
    try:
        import huggingface_hub.errors
    except ImportError:
        raise ModelError(f"huggingface_hub is not installed: {INSTALL}") from None
    return huggingface_hub


def _explain_offline(repository: str, revision: str, file: str) -> str:
    copy = f"hf download {repository} --revision {revision} --local-dir FOLDER"
    return (
        f"the Hugging Face Hub cannot be reached, and {file} of {repository}@{revision} is not in its cache: "
        f"run `{copy}` on a machine that can reach it, and give hf-hub:FOLDER"
    )


def _explain_absent(repository: str, revision: str, file: str) -> str:
    source = HUB.source(f"{repository}@{revision}")
    if file != SAFETENSORS:
        return f"{source} has no {file}; is it a network of timm or transformers?"
    return (
        f"{source} has no {SAFETENSORS}, and pickled files can hold code; "
        f"download its {PICKLE}, and give {source}{WEIGHTS}FILE, which reads its tensors and nothing else"
    )
