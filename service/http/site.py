"""The atlas as a folder of files. Takes a root and what to show of it, writes pages with relative links; it needs no server.

The pages are those of the web service, asked one by one. A link to what is not written becomes text. Arrows to such pages, and
forms, are left out.
"""

import asyncio
import hashlib
import html as html_text
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from starlette.types import ASGIApp, Message, Scope

from service.http.prefix import LINK
from workers.errors import StoreError

SUFFIXES = {"image/png": ".png", "image/webp": ".webp", "image/jpeg": ".jpg", "image/svg+xml": ".svg"}
KEPT = (".css", ".js", ".json", ".svg")  # ends of paths that are already those of files
SAMPLE = 40  # pictures whose size is measured for an estimate
# Searches, links to JSON twins, and what refers to the address of the site.
_NEEDS_SERVER = re.compile(
    r"<form\b.*?</form>|<footer>.*?</footer>|<a data-server\b.*?</a>|<pre data-server\b.*?</pre>|"
    r"\s*<meta property=\"og:image\"[^>]*>| data-(?:pairs|selectable)\b",
    re.DOTALL,
)
_TURN_NOWHERE = re.compile(
    r'<a rel="(?:prev|next)"(?![^>]* href=)[^>]*>.*?</a>', re.DOTALL
)  # an arrow without a target
_ITEM = re.compile(r'<li\b[^>]*><a href="([^"]*)"><img\b.*?</li>', re.DOTALL)  # a channel on a wall
_EMPTY_ROW = re.compile(r'(<ol class="telling">)\s*(</ol>)')  # a layer whose channels are not written
_LISTS_CHANNELS = re.compile(r"/runs/[^/?]+(/layers/[^/?]+)?(\?.*)?")
_PICTURE = re.compile(
    r"/static/|/runs/[^/?]+/(mosaic|maps/|layers/.+/(patch|projection)\b|previews/|rows/\d+(/|\.json))"
)
_LARGE = re.compile(r"/static/|/runs/[^/?]+/mosaic")  # few, and larger than the others
_CARD = re.compile(r"/embed(/runs/[^/?]+/layers/[^/?]+/channels/\d+)")
_PAGE = re.compile(r"/(limits|runs/[^/?]+(/(layers/[^/?]+(/channels/\d+)?|images?|labels?|rejects|rows/\d+))?)?(\?.*)?")


@dataclass(frozen=True)
class Selection:
    """What is written.

    Attributes:
        runs: ids of the runs.
        channels: decides about a channel, by run, layer and number.
        layers: decides about a layer, by run and name.
        is_whole: whether these are all layers and channels. Pages of images and labels list channels of all layers, so they are
            only written then.
    """

    runs: frozenset[str]
    layers: Callable[[str, str], bool]
    channels: Callable[[str, str, int], bool]
    is_whole: bool = True

    def has(self, path: str) -> bool:
        """Whether a page is written; a card, if its channel's page is."""
        path = _CARD.sub(r"\1", path)
        if not _PAGE.fullmatch(path) or "view=" in path:  # exact fields would double the site
            return False
        parts = [unquote(part) for part in path.partition("?")[0].split("/")]
        if len(parts) < 3:
            return True
        run, rest = parts[2], parts[3:]
        if run not in self.runs or (rest[:1] == ["layers"] and not self.layers(run, rest[1])):
            return False
        if rest and rest[0] in ("image", "images", "label", "labels"):
            return self.is_whole
        return len(rest) < 4 or self.channels(run, rest[1], int(rest[3]))


@dataclass(frozen=True)
class Size:
    """What a site takes: numbers of pages and pictures, and bytes."""

    pages: int
    pictures: int
    bytes: int


@dataclass
class Site:
    """Pages and pictures of an application that can be written to a folder.

    Attributes:
        app: the web service; it must let requests without a key through.
        selection: what is written.
    """

    app: ASGIApp
    selection: Selection

    def estimate(self) -> Size:
        """The size of the site. Of the pictures of channels, some are measured."""
        pages, files, size = 0, dict[str, None](), 0
        for _, html in self._pages():
            pages += 1
            files.update(dict.fromkeys(self._pictures(html)))
            size += len(html.encode())
        pictures = [path for path in files if not _LARGE.match(path)]
        size += sum(len(self._get(path).body) for path in files if _LARGE.match(path))
        sample = pictures[:: max(1, len(pictures) // SAMPLE)]
        measured = sum(len(self._get(path).body) for path in sample)
        return Size(pages, len(files), size + measured * len(pictures) // max(1, len(sample)))

    def write(self, folder: Path) -> Size:
        """Write the site to a folder.

        Args:
            folder: created if it does not exist.

        Raises:
            StoreError: a page or picture cannot be made, because the root is damaged or unavailable.
            OSError: a file cannot be written.
        """
        files, pages, size = dict[str, str](), 0, 0
        for path, html in self._pages():
            for picture in self._pictures(html):
                if picture not in files:
                    answer = self._get(picture)
                    files[picture] = _picture_file(picture, answer.media)
                    size += _write(folder / files[picture], answer.body)
            size += _write(folder / _page_file(path), self._relinked(path, html, files).encode())
            pages += 1
        return Size(pages, len(files), size)

    def _pages(self) -> Iterator[tuple[str, str]]:
        """Every page that the first one leads to: its path, and its HTML without what is not written."""
        waiting, seen = ["/"], {"/"}
        while waiting:
            path = waiting.pop(0)
            html = self._reduced(path, self._get(path).body.decode())
            new = [link for link in dict.fromkeys(_links(html)) if link not in seen and self.selection.has(link)]
            waiting += new
            seen.update(new)
            yield path, html

    def _reduced(self, path: str, html: str) -> str:
        """A page without what needs a server; a wall also without the channels that are not written, and with their number."""
        html = _NEEDS_SERVER.sub("", html)
        if not _LISTS_CHANNELS.fullmatch(path):
            return html
        shown = [item for item in _ITEM.finditer(html) if self.selection.has(html_text.unescape(item[1]))]
        kept = {item[0] for item in shown}
        reduced = _ITEM.sub(lambda item: item[0] if item[0] in kept else "", html)
        reduced = _EMPTY_ROW.sub(r"\1<li class='none'>Not on this site.</li>\2", reduced)
        note = f"<p class='says'>This site shows {len(shown):,} of the layer's channels.</p>"
        return reduced.replace('<ol class="wall', f'{note}<ol class="wall') if reduced != html else html

    def _pictures(self, html: str) -> list[str]:
        """Paths of the pictures, styles and scripts of a page, and of the numbers that its script reads."""
        return [link for link in dict.fromkeys(_links(html)) if _PICTURE.match(link)]

    def _relinked(self, path: str, html: str, files: Mapping[str, str]) -> str:
        """A page with relative links."""
        folder = posixpath.dirname(_page_file(path))

        def relative(match: re.Match[str]) -> str:
            link, sign, fragment = html_text.unescape(match[2]).partition("#")
            file = files.get(link) or (_page_file(link) if self.selection.has(link) else None)
            return f'{match[1]}{quote(posixpath.relpath(file, folder or "."))}{sign}{fragment}"' if file else ""

        return _TURN_NOWHERE.sub("", LINK.sub(relative, html))

    def _get(self, path: str) -> "_Answer":
        answer = asyncio.run(_ask(self.app, path))
        if answer.status != 200:
            raise StoreError(f"{path} cannot be shown: {answer.status} {answer.body[:200].decode(errors='replace')}")
        return answer


@dataclass
class _Answer:
    status: int = 0
    media: str = ""
    body: bytes = b""


async def _ask(app: ASGIApp, path: str) -> _Answer:
    """The answer of an application to a GET request of this machine."""
    answer, body, requests = _Answer(), list[bytes](), [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if not requests:
            await asyncio.Event().wait()  # it stays connected
        return requests.pop()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers: dict[bytes, bytes] = dict(message["headers"])
            answer.status = message["status"]
            answer.media = headers.get(b"content-type", b"").decode().partition(";")[0]
        else:
            body.append(message.get("body", b""))

    await app(_request(path), receive, send)
    answer.body = b"".join(body)
    return answer


def _request(path: str) -> Scope:
    """A GET request of this machine, as ASGI has it."""
    plain, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(plain),
        "raw_path": plain.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 0),
        "server": ("localhost", 80),
    }


def _links(html: str) -> list[str]:
    return [html_text.unescape(match[2]).partition("#")[0] for match in LINK.finditer(html)]


def _page_file(path: str) -> str:
    """The file of a page; a query becomes a hash."""
    plain, _, query = path.partition("?")
    name = f"index-{hashlib.sha256(query.encode()).hexdigest()[:12]}.html" if query else "index.html"
    return posixpath.join(_folder(plain), name)


def _picture_file(path: str, media: str) -> str:
    """The file of a picture; the query, which only names the run, is left out."""
    plain = _folder(path.partition("?")[0])
    return plain if posixpath.splitext(plain)[1] in KEPT else plain + SUFFIXES.get(media, "")


def _folder(path: str) -> str:
    """A relative path that stays below the site's folder, whatever layers are called."""
    return "/".join(part.replace(".", "%2E") if set(part) == {"."} else part for part in path.strip("/").split("/"))


def _write(file: Path, data: bytes) -> int:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return len(data)
