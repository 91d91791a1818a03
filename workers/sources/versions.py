"""Checks that a file has not changed since it was listed. Takes its current status, raises StaleFile if it has."""

import os
import stat
from typing import Any

from workers.errors import Reason, StaleFile

UNKNOWN_BYTES = -1  # size of an image whose size is known only once it is read


def of_status(status: os.stat_result) -> str:
    """The etag of a local file, which identifies its version."""
    return f"{status.st_mtime_ns}:{status.st_ctime_ns}"


def of_info(info: dict[str, Any]) -> str:
    """The etag that a store gives for an object; empty if it gives none."""
    keys = ("ETag", "etag", "md5Hash", "checksum", "mtime", "LastModified", "created")
    return next((str(info[key]) for key in keys if info.get(key)), "")


def check_status(uri: str, status: os.stat_result, expected_bytes: int, etag: str) -> None:
    """Require a local file to have the listed size and etag; an empty etag is not compared."""
    check_regular(uri, status)
    check_size(uri, status.st_size, expected_bytes)
    if etag and of_status(status) != etag:
        raise _changed_error(uri, "it has been written to")


def check_object(uri: str, filesystem: Any, path: str, expected_bytes: int, etag: str) -> None:  # noqa: ANN401
    """Require an object to have the listed size and etag; an empty etag is not compared."""
    filesystem.invalidate_cache(path)
    info = filesystem.info(path)
    if info.get("type") != "file":
        raise _changed_error(uri, f"it is a {info.get('type')} now")
    check_size(uri, int(info["size"]), expected_bytes)
    # Some file systems write the etag of an object's info differently from the one in a listing.
    if etag and of_info(info) != etag and etag not in map(of_info, filesystem.ls(path, detail=True)):
        raise _changed_error(uri, "its etag has changed")


def check_regular(uri: str, status: os.stat_result) -> None:
    """Refuse a FIFO, socket, device or folder that has replaced a listed file."""
    if not stat.S_ISREG(status.st_mode):
        raise _changed_error(uri, "it is no longer a regular file")


def check_size(uri: str, size_bytes: int, expected_bytes: int) -> None:
    """Require a file to have the listed size."""
    if size_bytes != expected_bytes:
        raise _changed_error(uri, f"{expected_bytes} bytes then, {size_bytes} now")


def vanished_error(uri: str) -> StaleFile:
    """The error for a file that has vanished."""
    return StaleFile(
        Reason.VANISHED, f"{uri} was listed but no longer exists; use a new --run to list the corpus again"
    )


def _changed_error(uri: str, how: str) -> StaleFile:
    return StaleFile(
        Reason.CHANGED, f"{uri} has changed since it was listed ({how}); use a new --run to list the corpus again"
    )
