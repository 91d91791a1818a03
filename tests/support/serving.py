"""The atlas as a server that a browser can ask. Takes a root, gives the address while a `with` lasts."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from service import app
from tests.support.asking import OPEN
from workers.store.root import Root


@contextmanager
def served(root: Root, control: app.Control | None = None) -> Iterator[str]:
    """The address of the atlas of a root, on a free port of this machine."""
    server = uvicorn.Server(
        uvicorn.Config(app.create(root, control=control, rules=OPEN), port=0, log_level="warning", log_config=None)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        [socket] = server.servers[0].sockets
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
