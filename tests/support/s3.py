"""A store that speaks S3, on the loopback interface."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

import pytest
from moto.server import ThreadedMotoServer


@contextmanager
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A running server; fsspec's `s3://` means it, also in child processes. Gives its URL."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    host, port = store.get_host_and_port()
    urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()  # buckets of earlier servers
    given = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    _forget_file_systems()
    try:
        yield given["AWS_ENDPOINT_URL_S3"]
    finally:
        store.stop()
        _forget_file_systems()


def _forget_file_systems() -> None:
    """fsspec keeps file systems, and with them the endpoint that they were made for."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
