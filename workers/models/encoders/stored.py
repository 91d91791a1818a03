"""Image-text models under a root. Takes a source, writes its files once; gives them to actors and to searches, verified."""

import hashlib
import json
import platform
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from workers.errors import DamagedFile, NodeError
from workers.models import snapshots
from workers.models.encoders.encoder import FILES, Encoder, load
from workers.spec.families import HUB
from workers.store import paths
from workers.store.facts import EncoderFacts
from workers.store.root import Root

CHUNK_BYTES = 1 << 24


@contextmanager
def opened(source: str) -> Iterator[tuple[EncoderFacts, Path]]:
    """The facts of an image-text model, and a temporary folder that holds only its files.

    Raises:
        ModelError: the files cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="deconvoy-") as folder:
        copied, linked = Path(folder) / "copied", Path(folder) / "linked"
        copied.mkdir()
        linked.mkdir()
        place, name = snapshots.local_copy(HUB.model(source), FILES, copied)
        present = tuple(file for file in FILES if (place / file).is_file())
        for file in present:  # the libraries would read other files of the folder, too
            (linked / file).symlink_to((place / file).resolve())
        yield EncoderFacts(source=HUB.source(name), fingerprint=_fingerprint(linked, present), files=present), linked


def write(root: Root, facts: EncoderFacts, folder: Path) -> None:
    """Copy the files of an image-text model to the root, unless they are there."""
    present = root.files(paths.encoder_path(facts.fingerprint, "").rstrip("/"))
    for name in facts.files:
        if present.get(name) != (folder / name).stat().st_size:
            with root.scratch() as scratch:  # a file is moved into the root, so it must be a copy
                shutil.copyfile(folder / name, scratch / name)
                root.put_file(scratch / name, paths.encoder_path(facts.fingerprint, name))


def read(root: Root, facts: EncoderFacts, device: str = "cpu") -> Encoder:
    """The encoder of an image-text model under a root.

    Raises:
        NodeError: this node does not see a file.
        DamagedFile: a file is damaged.
        ModelError, ExtraError: see `load`.
    """
    if root.is_local:
        return _load(root, facts, Path(root.path(paths.encoder_path(facts.fingerprint, ""))), device)
    with root.scratch() as folder:
        for name in facts.files:
            _copy(root, paths.encoder_path(facts.fingerprint, name), folder / name)
        return _load(root, facts, folder, device)


def _copy(root: Root, path: str, to: Path) -> None:
    try:
        with root.open(path) as stream, to.open("wb") as file:
            while part := stream.read(CHUNK_BYTES):
                file.write(part)
    except FileNotFoundError as error:
        raise _missing(root, path) from error


def _load(root: Root, facts: EncoderFacts, folder: Path, device: str) -> Encoder:
    try:
        actual = _fingerprint(folder, facts.files)
    except FileNotFoundError as error:
        raise _missing(root, paths.encoder_path(facts.fingerprint, "")) from error
    if actual != facts.fingerprint:
        raise DamagedFile(
            f"{root.path(paths.encoder_path(facts.fingerprint, ''))} is damaged: its files have the hash {actual}; "
            "remove the folder, and run `deconvoy concepts` again"
        )
    return load(folder, facts.source, device)


def _missing(root: Root, path: str) -> NodeError:
    return NodeError(f"node {platform.node()} cannot find {root.path(path)}; every node must be able to read the root")


def _fingerprint(folder: Path, names: Sequence[str]) -> str:
    """The hash of the names and contents of some files."""
    contents = []
    for name in names:
        with (folder / name).open("rb") as file:
            contents.append((name, hashlib.file_digest(file, "sha256").hexdigest()))
    return hashlib.sha256(json.dumps(contents).encode()).hexdigest()[:32]
