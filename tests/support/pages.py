"""The atlas as a browser asks for it. Takes a root and a run, gives its page's data once every picture on it was had."""

import io
import re
from pathlib import Path
from typing import Any

from PIL import Image

from tests.support.asking import atlas_of
from workers.store.root import Root


def shown(root: Path, run: str) -> dict[str, Any]:
    """The JSON twin of a run's page; all of the page's pictures decode."""
    client = atlas_of(Root(str(root)))
    page = client.get(f"/runs/{run}")
    assert page.status_code == 200
    for link in re.findall(r'<img src="([^"]*)"', page.text):
        with Image.open(io.BytesIO(client.get(link).content)) as opened:
            opened.load()
    return client.get(f"/runs/{run}.json").json()
