"""Whether a file still is the one that was listed. Takes what its storage says of it, raises StaleFile if it is not."""

import os
import stat
from typing import Any

from workers.errors import Reason, StaleFile


def of_status(status: os.stat_result) -> str:
    """What tells two versions of a local file apart."""
    return f"{status.st_mtime_ns}:{status.st_ctime_ns}"


def of_info(info: dict[str, Any]) -> str:
    """What tells two versions of an object apart, as its store says; empty if it says nothing."""
    keys = ("ETag", "etag", "md5Hash", "checksum", "mtime", "LastModified", "created")
    return next((str(info[key]) for key in keys if info.get(key)), "")


def check_status(uri: str, status: os.stat_result, expected_bytes: int, etag: str) -> None:
    """Hold a local file to its size and version; an empty version is not known."""
    check_regular(uri, status)
    check_size(uri, status.st_size, expected_bytes)
    if etag and of_status(status) != etag:
        raise _changed(uri, "it has been written to")


def check_object(uri: str, filesystem: Any, path: str, expected_bytes: int, etag: str) -> None:  # noqa: ANN401
    """Hold an object to its size and version, as its store has them now; an empty version is not known."""
    filesystem.invalidate_cache(path)
    info = filesystem.info(path)
    if info.get("type") != "file":
        raise _changed(uri, f"it is a {info.get('type')} now")
    check_size(uri, int(info["size"]), expected_bytes)
    # Some file systems write a version in one way where they describe an object, and in another where they list it.
    if etag and of_info(info) != etag and etag not in map(of_info, filesystem.ls(path, detail=True)):
        raise _changed(uri, "its etag is another")


def check_regular(uri: str, status: os.stat_result) -> None:
    """Refuse a FIFO, a socket, a device or a folder in a listed file's place."""
    if not stat.S_ISREG(status.st_mode):
        raise _changed(uri, "it is not a regular file any more")


def check_size(uri: str, size_bytes: int, expected_bytes: int) -> None:
    """Hold a file to its size."""
    if size_bytes != expected_bytes:
        raise _changed(uri, f"{expected_bytes} bytes then, {size_bytes} now")


def vanished(uri: str) -> StaleFile:
    """The error that names a file that is gone."""
    return StaleFile(Reason.VANISHED, f"{uri} was listed and is gone; another --run lists the corpus again")


def _changed(uri: str, how: str) -> StaleFile:
    return StaleFile(
        Reason.CHANGED, f"{uri} has changed since it was listed ({how}); another --run lists the corpus again"
    )
