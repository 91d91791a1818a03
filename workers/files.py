"""Files that a spec names. Takes a path or an fsspec URL, gives its bytes or its file system; goes nowhere else than told.

A server that is asked by http(s) may send whoever asks to another one, which nobody has allowed: that is an error here.
"""

import errno
from functools import cache
from typing import Any, cast

from fsspec.core import url_to_fs

from workers.errors import DeconvoyError, RedirectError


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
