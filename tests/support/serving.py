"""The atlas as a server that a browser can ask. Takes a root or an application, gives the address while a `with` lasts."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from service.http import app
from service.http.connections import config
from tests.support.asking import OPEN
from workers.store.root import Root


@contextmanager
def served(root: Root, control: app.Control | None = None) -> Iterator[str]:
    """The address of the atlas of a root, on a free port of this machine."""
    with listening(app.create(root, control=control, rules=OPEN, embed=["*"])) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def listening(application: ASGIApp, trusted: Sequence[str] = ()) -> Iterator[int]:
    """The port of an application that listens as `deconvoy serve` does."""
    server = uvicorn.Server(config(application, trusted))
    with socket.create_server(("127.0.0.1", 0)) as there:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [there]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield there.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()
