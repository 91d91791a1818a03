"""Files that a spec names. Takes a path or an fsspec URL, gives its bytes or its file system; goes nowhere else than told.

A server that is asked by http(s) may send whoever asks to another one, which nobody has allowed: that is an error here.
"""

from functools import cache
from typing import Any, cast

from fsspec.core import url_to_fs

from workers.errors import DeconvoyError, RedirectError


def filesystem(url: str) -> tuple[Any, str]:
    """The file system of a URL, and its path there.

    Raises:
        ValueError: its protocol is unknown.
        ImportError: what speaks it is not installed.
    """
    chained = {link.partition("://")[0] for link in url.split("::")}
    options = {protocol: {"client_kwargs": {"trace_configs": [_staying()]}} for protocol in chained & {"http", "https"}}
    found, path = url_to_fs(url, **options)
    return found, str(path)


def read(url: str) -> bytes:
    """The bytes of a file.

    Raises:
        OSError: they cannot be had; FileNotFoundError if there is no such file.
        RedirectError: they are elsewhere.
        ValueError: its protocol is unknown.
        ImportError: what speaks it is not installed.
    """
    found, path = filesystem(url)
    try:
        return cast(bytes, found.cat_file(path))
    except (OSError, MemoryError, DeconvoyError):
        raise
    except Exception as error:  # stores raise what they like: neither aiohttp's errors nor botocore's are OSError
        raise OSError(f"{type(error).__name__}: {error}") from error


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
