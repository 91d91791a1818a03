"""The README's pictures of the atlas. Takes a root with a scan, occlusions and inversions, writes JPEGs of its pages.

python -m tests.browser.screenshots --root ROOT --scan caltech --occlude covered --invert inverted -o docs
"""

import argparse
import io
from pathlib import Path

from PIL import Image

from tests.support import browsers, serving
from workers.store.root import Root

DESK, PHONE = {"width": 1180, "height": 760}, {"width": 390, "height": 760}


def main() -> None:
    """Visit the pages and write what is seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--root", "--scan", "--occlude", "--invert", "-o"):
        parser.add_argument(name, required=True, dest=name.strip("-"))
    parser.add_argument("--layer", default="relu5")
    parser.add_argument("--image", default="sunflower/image_0039.jpg")
    parser.add_argument("--channel", type=int, default=97)
    asked = parser.parse_args()
    layer = f"/runs/{asked.scan}/layers/{asked.layer}"
    pages = {
        "atlas-wall": (layer, DESK, "light"),
        "atlas-channel": (f"{layer}/channels/{asked.channel}", DESK, "dark"),
        "atlas-run": (f"/runs/{asked.scan}", DESK, "dark"),
        "atlas-image": (f"/runs/{asked.scan}/image?id={asked.image}", DESK, "light"),
        "atlas-occlusion": (f"/runs/{asked.occlude}/rows/1", DESK, "light"),
        "atlas-inversions": (f"/runs/{asked.invert}", DESK, "light"),
        "atlas-phone": (f"{layer}/channels/{asked.channel}", PHONE, "dark"),
    }
    with serving.served(Root(asked.root)) as address, browsers.launched() as browser:
        for name, (path, size, scheme) in pages.items():
            page = browser.new_page(viewport=size, color_scheme=scheme)
            page.goto(address + path, wait_until="networkidle")
            if page.locator(".boxes rect").count():
                page.locator("rect[data-unit='4']").dispatch_event("mouseenter")
            with Image.open(io.BytesIO(page.screenshot())) as seen:
                seen.convert("RGB").save(Path(asked.o) / f"{name}.jpg", quality=88, optimize=True)
            page.close()


if __name__ == "__main__":
    main()
