"""Files that a spec names: their bytes, from where they are said to be and from nowhere else."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from workers import files
from workers.corpus import entries, fetch
from workers.errors import CorpusError, ModelError, ReadError, RedirectError, StoreError
from workers.models import classes, weights
from workers.spec.parts import CorpusSpec

SECRET = b"secret"


class Server(ThreadingHTTPServer):
    """Remembers the paths that were asked for, and where it sends whoever asks."""

    def __init__(self, elsewhere: str) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked: list[str] = []
        self.elsewhere, self.url = elsewhere, f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    """Paths are statuses: /302/x leads to the server that the query names, /200/x holds SECRET."""

    server: Server

    def do_GET(self) -> None:
        status = int(self.path.split("/")[1])
        self.server.asked.append(self.path)
        self.send_response(status)
        body = SECRET if status == 200 else b""
        if 300 <= status < 400:
            self.send_header("Location", self.server.elsewhere)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - as the server calls it

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(elsewhere: str = "") -> Iterator[Server]:
    with Server(elsewhere) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def inner() -> Iterator[ThreadingHTTPServer]:
    """A server that nobody has allowed."""
    with serving() as server:
        yield server


@pytest.fixture
def outer(inner) -> Iterator[ThreadingHTTPServer]:
    """A server that is allowed, and leads to the other one."""
    with serving(f"{inner.url}/200/secret.txt") as server:
        yield server


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_told_with_where_it_leads(outer, inner, status):
    url = f"{outer.url}/{status}/x"
    with pytest.raises(RedirectError) as told:
        files.read(url)
    assert str(told.value).startswith(f"{url} redirects to {inner.url}/200/secret.txt; redirects are not followed")
    assert not inner.asked


def test_neither_images_nor_weights_nor_class_names_are_read_from_where_a_redirect_leads(outer, inner):
    url = f"{outer.url}/302/x"
    for reading in (
        lambda: fetch.read(url, len(SECRET)),
        lambda: weights.read(url),
        lambda: weights.read(f"simplecache::{url}"),
        lambda: classes.read(url, 1000),
        lambda: files.matching(f"{outer.url}/302/*.pt", "evolve.checkpoints"),
    ):
        with pytest.raises(RedirectError):
            reading()
    with pytest.raises(OSError, match="/302/x"):
        fetch.first_byte(url)
    assert not inner.asked


def test_what_is_where_it_is_said_to_be_is_read(inner, tmp_path):
    (tmp_path / "x").write_bytes(SECRET)
    for url in (f"{inner.url}/200/x", str(tmp_path / "x"), f"file://{tmp_path}/x", "data:,secret"):
        assert files.read(url) == SECRET
    assert fetch.read(f"{inner.url}/200/x", len(SECRET)) == SECRET


def test_a_server_that_does_not_answer_as_it_should_is_told_in_one_line(inner):
    with pytest.raises(ModelError, match=r"weights 'http.*/500/x' cannot be read: ClientResponseError: 500"):
        weights.read(f"{inner.url}/500/x")
    with pytest.raises(ReadError, match=r"/500/x cannot be read: ClientResponseError"):
        fetch.read(f"{inner.url}/500/x", 1)
    with pytest.raises(
        StoreError, match=r"reading http.*/500/x failed [2-9] times .*: ClientResponseError.*run the same command again"
    ):
        fetch.read(f"{inner.url}/500/x", 1, patience_s=0.6)
    with pytest.raises(ReadError, match="was listed but no longer exists"):
        fetch.read(f"{inner.url}/404/x", 1)
    with pytest.raises(ModelError, match="cannot be read"):
        weights.read("nosuch://x")
    with pytest.raises(CorpusError, match="cannot be listed"):
        entries.listing(CorpusSpec(source="nosuch://x"))
