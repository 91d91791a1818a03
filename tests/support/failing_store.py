"""A store that fails on demand: `failing:///folder`. Takes what to refuse from a file, so that every process sees the same.

It holds objects as S3 does: what is written appears whole. Refusals begin with the first operation that the file describes.
"""

import json
import os
import re
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

CONTROL = "DECONVOY_TEST_REFUSALS"  # path of the file
DELAY_S = "DECONVOY_TEST_STORE_DELAY_S"  # seconds that every operation takes longer
SLOW_S = 0.3


class Throttled(Exception):
    """As botocore's ClientError: no OSError, and pickle does not bring it back."""

    def __init__(self, code: int, operation: str) -> None:
        super().__init__(
            f"An error occurred ({code}) when calling the {operation} operation:\nreduce your request rate"
        )


def refuse(control: Path, match: str, seconds: float, *, files: int = 0, error: str = "throttled") -> None:
    """Refuse everything for some seconds, from the first write of a path like `match`.

    The error `full` refuses writes alone; `hanging` answers nothing until then, and `slow` answers late. With `files` it begins
    once so many files are in the folders beside that path's folder.
    """
    _since(control).unlink(missing_ok=True)
    control.write_text(json.dumps({"match": match, "seconds": seconds, "files": files, "error": error}))


def began(control: Path) -> bool:
    """Whether anything was refused."""
    return _since(control).exists()


def calm(control: Path) -> None:
    """Refuse nothing more."""
    control.unlink(missing_ok=True)


def _since(control: Path) -> Path:
    return control.with_suffix(".since")


def _beside(path: str) -> int:
    return len(list(Path(path).parents[1].rglob("*.parquet")))


def _check(operation: str, path: str) -> None:
    """Raise what the control file asks for, if its time has come."""
    time.sleep(float(os.environ.get(DELAY_S, "0")))
    control, is_write = Path(os.environ[CONTROL]), operation in ("put", "copy", "create", "delete")
    try:
        told = json.loads(control.read_text())
    except (FileNotFoundError, json.JSONDecodeError):  # it ends or begins now
        return
    if is_write and re.search(told["match"], path) and _beside(path) >= told["files"]:
        with suppress(FileExistsError), _since(control).open("x") as file:
            file.write(str(time.time()))
    if not _since(control).exists():
        return
    begun = float(_since(control).read_text() or time.time())
    remaining_s = begun + told["seconds"] - time.time()
    if remaining_s < 0:
        return
    if told["error"] in ("hanging", "slow"):
        time.sleep(remaining_s if told["error"] == "hanging" else SLOW_S)
    if told["error"] == "full" and is_write:
        raise OSError(28, "No space left on device")
    if told["error"] == "throttled":
        raise Throttled(503, operation)


class FailingStore(AbstractFileSystem):
    """Objects in a folder of this machine."""

    protocol = "failing"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._local = LocalFileSystem()

    def ls(self, path: str, detail: bool = True, **_: Any) -> Any:
        _check("list", path)
        return self._local.ls(path, detail)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        _check("head", path)
        return self._local.info(path)

    def modified(self, path: str) -> datetime:
        _check("head", path)
        return datetime.fromtimestamp(Path(path).stat().st_mtime, UTC)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        _check("get", path)
        return Path(path).read_bytes()[start:end]

    def pipe_file(self, path: str, value: bytes, **_: Any) -> None:
        _check("put", path)
        self._write(path, value)

    def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
        _check("put", rpath)
        self._write(rpath, Path(lpath).read_bytes())

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        _check("copy", path2)
        self._write(path2, Path(path1).read_bytes())

    def rm_file(self, path: str) -> None:
        _check("delete", path)
        Path(path).unlink()

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        path = self._strip_protocol(path)
        return Reading(path) if mode == "rb" else Creating(self, path)

    def _write(self, path: str, value: bytes) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        whole = Path(path).with_name(uuid.uuid4().hex)
        whole.write_bytes(value)
        whole.replace(path)


class Reading:
    """An open object, whose every read is a request."""

    def __init__(self, path: str) -> None:
        _check("get", path)
        self._path, self._file = path, Path(path).open("rb")  # noqa: SIM115 - closed by its owner

    def __enter__(self) -> "Reading":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, size: int = -1) -> bytes:
        _check("get", self._path)
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def close(self) -> None:
        self._file.close()


class Creating:
    """An object that is created exclusively, when it is closed."""

    def __init__(self, store: FailingStore, path: str) -> None:
        self._store, self._path, self._parts = store, path, list[bytes]()

    def __enter__(self) -> "Creating":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            _check("create", self._path)
            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
            whole = Path(self._path).with_name(uuid.uuid4().hex)
            whole.write_bytes(b"".join(self._parts))
            try:
                os.link(whole, self._path)
            finally:
                whole.unlink()

    def write(self, data: bytes) -> None:
        self._parts.append(data)
