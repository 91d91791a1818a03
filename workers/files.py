"""Files that a spec names. Takes a path, a glob or an fsspec URL; gives its bytes, its file system or its matches.

A redirect by an http(s) server is an error: it leads to a server that nobody has allowed.
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
    """The file system of a URL, and the path in it.

    Raises:
        ValueError: the protocol is unknown, or the URL is not valid for it.
        ImportError: the package for the protocol is not installed.
    """
    if "::" in url and "://" not in url:  # a path on this machine whose name contains ::
        local = fsspec.filesystem("file")
        return local, str(local._strip_protocol(url))
    chained = {link.partition("://")[0] for link in url.split("::")}
    http = chained & {"http", "https"}
    options = {protocol: {"client_kwargs": {"trace_configs": [_refuse_redirects()]}} for protocol in http}
    try:
        store, path = url_to_fs(url, **options)
    except (OSError, ValueError, ImportError):
        raise
    except Exception as error:  # a file system's constructor raises anything for a URL that it does not expect
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return store, str(path)


def filesystem_of_key(uri: str) -> tuple[Any, str]:
    """The file system of a uri that is the exact key of one file, and the path in it: `::` in a key chains nothing.

    Raises:
        ValueError, ImportError: see `filesystem`.
    """
    scheme, mark, _ = uri.partition("://")
    if "::" not in uri or not mark:
        return filesystem(uri)
    store, _ = filesystem(f"{scheme}://{uri[len(scheme) + 3 :].partition('/')[0]}")
    return store, str(store._strip_protocol(uri))


def is_local(filesystem: Any) -> bool:  # noqa: ANN401 - fsspec has no types
    """Whether a file system is this machine's own."""
    return isinstance(filesystem, fsspec.get_filesystem_class("file"))


def matching(pattern: str, key: str) -> list[str]:
    """The files that a glob matches, sorted by the numbers in their names: epoch-2 comes before epoch-10.

    Args:
        pattern: a path or an fsspec URL. One without wildcards is returned alone.
        key: the key of the spec, for the error.

    Raises:
        SpecError: nothing matches the glob, or the glob cannot be listed.
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
        most_bytes: the limit. A larger file is refused before it is read, and so is a device or a pipe.

    Raises:
        OSError: the file cannot be read; FileNotFoundError if it does not exist.
        RedirectError: the server redirects to another URL.
        ValueError: the protocol is unknown.
        ImportError: the package for the protocol is not installed.
    """
    return _read(*filesystem(url), most_bytes)


def read_key(uri: str) -> bytes:
    """The bytes of the file with an exact key; raises the errors of `read`."""
    return _read(*filesystem_of_key(uri), None)


def _read(store: Any, path: str, most_bytes: int | None) -> bytes:  # noqa: ANN401 - fsspec has no types
    try:
        if most_bytes is not None:
            _check_size(store, path, most_bytes)
        return cast(bytes, store.cat_file(path))
    except (OSError, MemoryError, DeconvoyError):
        raise
    except Exception as error:  # neither aiohttp's nor botocore's errors are OSErrors
        raise OSError(f"{type(error).__name__}: {error}") from error


def _by_numbers(path: str) -> list[tuple[int, int, str]]:
    """A sort key: words in alphabetical order, numbers by value."""
    return [(0, int(word), "") if word.isdecimal() else (1, 0, word) for word in re.split(r"(\d+)", path)]


def _check_size(store: Any, path: str, most_bytes: int) -> None:  # noqa: ANN401 - fsspec has no types
    try:
        info = store.info(path)
    except FileNotFoundError:  # some servers give a file but no information about it; reading reports a missing file
        return
    if info["type"] == "other":
        raise OSError(errno.EINVAL, "it is a device or a pipe, not a file")
    if (info.get("size") or 0) > most_bytes:
        raise OSError(
            errno.EFBIG,
            f"it is {info['size'] / 1e6:,.0f} MB; at most {most_bytes / 1e6:,.0f} MB are accepted",
        )


@cache
def _refuse_redirects() -> Any:  # noqa: ANN401 - aiohttp is loaded where it is needed
    """The aiohttp trace that refuses redirects; one object for all URLs, so that fsspec reuses its file systems."""
    import aiohttp

    async def refuse(_: object, __: object, redirect: aiohttp.TraceRequestRedirectParams) -> None:
        redirect.response.close()
        target = redirect.response.headers.get("Location", "another URL")
        raise RedirectError(
            f"{redirect.url} redirects to {target}; redirects are not followed: give the URL of the file itself"
        )

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse)
    return trace
