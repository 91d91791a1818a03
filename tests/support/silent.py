"""A storage that is dead: whoever reads there waits. Takes `silent://NAME`, blocks until `answer` is set."""

import threading
from typing import Any

import fsspec
from fsspec.spec import AbstractFileSystem

answer = threading.Event()
LONGEST_S = 60.0


class SilentFileSystem(AbstractFileSystem):
    """Every question blocks; then there is no such file."""

    protocol = "silent"

    def _block(self, path: str, *_: Any, **__: Any) -> Any:
        answer.wait(LONGEST_S)
        raise FileNotFoundError(path)

    cat_file = info = open = ls = _block


fsspec.register_implementation("silent", SilentFileSystem, clobber=True)
