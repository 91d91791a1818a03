"""Files that a spec names. Takes a path, a glob or an fsspec URL; gives its bytes, its file system, or the files it matches.

A redirect of an http(s) server is an error: it leads to a server that nobody has allowed.
"""

import errno
import re
from functools import cache
from typing import Any, cast

import fsspec
from fsspec.core import url_to_fs

from workers import locations
from workers.errors import DeconvoyError, RedirectError, SpecError


def filesystem(url: str) -> tuple[Any, str]:
    """The file system of a URL, and its path there.

    Raises:
        ValueError: its protocol is unknown, or it is not a URL of that protocol.
        ImportError: what speaks it is not installed.
    """
    chained = {link.partition("://")[0] for link in url.split("::")}
    options = {protocol: {"client_kwargs": {"trace_configs": [_staying()]}} for protocol in chained & {"http", "https"}}
    try:
        found, path = url_to_fs(url, **options)
    except (OSError, ValueError, ImportError):
        raise
    except Exception as error:  # a file system's constructor raises anything for a URL that it does not expect
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return found, str(path)


def is_local(filesystem: Any) -> bool:  # noqa: ANN401 - fsspec has no types
    """Whether a file system is the one of this machine."""
    return isinstance(filesystem, fsspec.get_filesystem_class("file"))


def matching(pattern: str, key: str) -> list[str]:
    """The file itself, or those that a glob matches, in the order of their numbers: epoch-2 comes before epoch-10.

    Args:
        pattern: a path or an fsspec URL.
        key: of the spec, for the error.

    Raises:
        SpecError: nothing matches the glob, or its protocol is unknown.
    """
    if not locations.is_pattern(pattern):
        return [pattern]
    try:
        store, path = filesystem(pattern)
        paths = sorted((str(match) for match in store.glob(path)), key=_by_numbers)
    except (ValueError, ImportError, OSError) as error:
        raise SpecError([f"{key}: {pattern!r} cannot be listed: {error}"]) from error
    if not paths:
        raise SpecError([f"{key}: nothing matches {pattern!r}"])
    return [str(store.unstrip_protocol(path)) if "://" in pattern else path for path in paths]


def read(url: str, most_bytes: int | None = None) -> bytes:
    """The bytes of a file.

    Args:
        url: a path or an fsspec URL.
        most_bytes: a larger one is refused before it is read, and so is what has no size, such as a device or a pipe.

    Raises:
        OSError: they cannot be had; FileNotFoundError if there is no such file.
        RedirectError: they are elsewhere.
        ValueError: its protocol is unknown.
        ImportError: what speaks it is not installed.
    """
    found, path = filesystem(url)
    try:
        if most_bytes is not None:
            _check_size(found, path, most_bytes)
        return cast(bytes, found.cat_file(path))
    except (OSError, MemoryError, DeconvoyError):
        raise
    except Exception as error:  # stores raise what they like: neither aiohttp's errors nor botocore's are OSError
        raise OSError(f"{type(error).__name__}: {error}") from error


def _by_numbers(path: str) -> list[tuple[int, int, str]]:
    """Words by the alphabet, numbers by their value."""
    return [(0, int(word), "") if word.isdecimal() else (1, 0, word) for word in re.split(r"(\d+)", path)]


def _check_size(found: Any, path: str, most_bytes: int) -> None:  # noqa: ANN401 - fsspec has no types
    try:
        about = found.info(path)
    except FileNotFoundError:  # a server may refuse to answer about a file that it gives; what is missing shows itself
        return
    if about["type"] == "other":
        raise OSError(errno.EINVAL, "it is a device or a pipe, not a file")
    if (about.get("size") or 0) > most_bytes:
        raise OSError(
            errno.EFBIG,
            f"it has {about['size'] / 1e6:,.0f} MB, which is more than the {most_bytes / 1e6:,.0f} MB that fit",
        )


@cache
def _staying() -> Any:  # noqa: ANN401 - aiohttp is loaded where it is needed
    """What aiohttp asks before it follows a redirect; one for all, so that fsspec knows its file systems again."""
    import aiohttp

    async def refused(_: object, __: object, asked: aiohttp.TraceRequestRedirectParams) -> None:
        asked.response.close()
        there = asked.response.headers.get("Location", "elsewhere")
        raise RedirectError(
            f"{asked.url} is redirected to {there}, which is not followed: give the address of the file"
        )

    staying = aiohttp.TraceConfig()
    staying.on_request_redirect.append(refused)
    return staying
