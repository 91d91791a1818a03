"""A dashboard that hangs. Takes nothing, gives an address where connections are taken and nothing is answered."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silent_dashboard() -> Iterator[str]:
    """Its address, while a `with` lasts."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
