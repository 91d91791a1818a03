"""Whether a node reaches the corpus."""

import os
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from tests.support import silent  # noqa: F401 - adds the file system silent://
from workers import formats
from workers.actors import device
from workers.corpus.manifest import Row
from workers.errors import NodeError, ReadError


def rows(*uris: str) -> list[Row]:
    return [Row(number, uri, uri, 1, "", None, None, False, None) for number, uri in enumerate(uris)]


def test_one_file_that_has_gone_since_it_was_listed_is_not_blamed_on_the_node(tmp_path):
    (tmp_path / "there.jpg").write_bytes(b"x")
    os.mkfifo(tmp_path / "fifo.jpg")
    names = ("gone.jpg", "fifo.jpg", "there.jpg")
    device._check_corpus(rows(*(str(tmp_path / name) for name in names)))
    device._check_corpus([])


def test_a_node_that_sees_none_of_the_files_is_named(tmp_path):
    with pytest.raises(FileNotFoundError):
        device._check_corpus(rows(*(str(tmp_path / f"{number}.jpg") for number in range(100))))


def test_a_storage_that_is_silent_does_not_hold_the_node_up():
    with pytest.raises(ReadError, match=r"silent://a.jpg has not responded for 0.3 s; is its storage available\?"):
        device._check_corpus(rows("silent://a.jpg"), read_hang_s=0.3)


def test_a_node_with_other_optional_decoders_is_named_with_both_versions(monkeypatch):
    monkeypatch.setattr(formats, "version_of", lambda package: f"{package} 1" if package == "pydicom" else "")
    device._check_decoders(("pydicom 1",))
    with pytest.raises(
        NodeError,
        match=r"different versions of the optional decoders .*: pydicom 1 instead of pillow-heif 1, pydicom 1;",
    ):
        device._check_decoders(("pillow-heif 1", "pydicom 1"))
    with pytest.raises(NodeError, match="pydicom 1 instead of none"):
        device._check_decoders(())


def test_a_node_with_another_pyarrow_is_named_before_anything_is_scanned(monkeypatch):
    monkeypatch.setattr(device, "_check_decoders", lambda _: None)
    job: Any = SimpleNamespace(decoders=(), pyarrow="1.0")
    with pytest.raises(NodeError, match=rf"has pyarrow {pa.__version__} instead of 1\.0; install the same version"):
        device.check(job, None)
