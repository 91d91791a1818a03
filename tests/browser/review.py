"""Screenshots of every kind of page, to review a change of the atlas's look. Takes a folder, writes PNGs and a page of them.

python -m tests.browser.review -o FOLDER [--against EARLIER]

There are three widths, light and dark. With an earlier folder, index.html shows only what has changed, before and after.
"""

import argparse
import html
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from tests.browser.pages import PAGES, control_of, publish_all
from tests.support import browsers, serving
from workers.store.root import Root

WIDTHS = {390: 844, 1280: 900, 1920: 1080}  # px: heights by width
SCHEMES = ("light", "dark")
STEADY = """async () => {  // all pictures, and no port that differs from run to run
  for (const text of document.querySelectorAll("pre")) text.textContent = text.textContent.replaceAll(/:[0-9]{4,5}/g, ":0");
  for (const image of document.images) image.loading = "eager";
  await Promise.allSettled([...document.images].map((image) => image.decode()));
}"""
TOLERANCE = 2  # of 255: text is not rendered exactly the same each time


def shots(folder: Path) -> Iterator[Path]:
    """Visit all pages of a root with a run of each kind, and write what is seen."""
    with tempfile.TemporaryDirectory() as place:
        root = Root(place)
        publish_all(root)
        with serving.served(root, control_of(root)) as address, browsers.launched() as browser:
            for (width, height), scheme in product(WIDTHS.items(), SCHEMES):
                view = browser.new_page(
                    viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
                )
                for path in PAGES:
                    view.goto(address + path, wait_until="networkidle")
                    view.evaluate(STEADY)
                    view.wait_for_load_state("networkidle")
                    file = (
                        folder / f"{quote(path, safe='').replace('%2F', '-').strip('-') or 'home'}.{width}.{scheme}.png"
                    )
                    view.screenshot(path=file, full_page=True)
                    yield file
                view.close()


def has_changed(before: Path, after: Path) -> bool:
    """Whether two screenshots differ in size, or in a pixel by more than the tolerance; also if there was none before."""
    if not before.exists():
        return True
    with Image.open(before) as one, Image.open(after) as other:
        if one.size != other.size:
            return True
        difference = np.abs(np.asarray(one.convert("RGB"), np.int16) - np.asarray(other.convert("RGB"), np.int16))
    return bool(difference.max() > TOLERANCE)


def changed(taken: Iterable[Path], earlier: Path) -> Iterator[tuple[Path | None, Path]]:
    """The screenshots that differ from those of an earlier folder, each after the earlier one if there is one."""
    for after in taken:
        before = earlier / after.name
        if has_changed(before, after):
            yield (before if before.exists() else None), after


def index(pairs: list[tuple[Path | None, Path]]) -> str:
    """A page that shows screenshots, each beside the one before it if there is one."""
    rows = []
    for before, after in pairs:
        pictures = "".join(f'<img src="{html.escape(file.resolve().as_uri())}">' for file in (before, after) if file)
        rows.append(f"<h2>{html.escape(after.stem)}</h2><p>{pictures}</p>")
    style = "img { max-width: 48%; vertical-align: top; border: 1px solid grey; margin-right: 1%; }"
    return f'<!doctype html><meta charset="utf-8"><title>{len(pairs)} screenshots</title><style>{style}</style>{"".join(rows)}'


def main() -> None:
    """Write the screenshots and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", required=True, dest="output", type=Path, help="folder for the screenshots and index.html")
    parser.add_argument("--against", type=Path, help="folder of an earlier review")
    asked = parser.parse_args()
    if asked.against and asked.against.resolve() == asked.output.resolve():
        parser.error("-o and --against are the same folder")
    asked.output.mkdir(parents=True, exist_ok=True)
    taken = list(shots(asked.output))
    pairs = list(changed(taken, asked.against) if asked.against else ((None, file) for file in taken))
    (asked.output / "index.html").write_text(index(pairs))
    sys.stdout.write(f"{len(taken)} screenshots, {len(pairs)} to review: {asked.output / 'index.html'}\n")


if __name__ == "__main__":
    main()
