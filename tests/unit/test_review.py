"""The review of screenshots: what has changed is shown before and after, and what has not is left out."""

from PIL import Image

from tests.browser import review


def test_only_pages_that_look_different_or_are_new_are_shown(tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    for folder in (before, after):
        folder.mkdir()
        for name in ("same", "nearly", "moved", "longer", *(["new"] if folder == after else [])):
            Image.new("RGB", (40, 30), (250, 250, 250)).save(folder / f"{name}.png")
    with Image.open(after / "nearly.png") as page:
        page.putpixel((3, 4), (248, 250, 252))
        page.save(after / "nearly.png")
    with Image.open(after / "moved.png") as page:
        page.putpixel((3, 4), (247, 250, 250))
        page.save(after / "moved.png")
    Image.new("RGB", (40, 31), (250, 250, 250)).save(after / "longer.png")
    pairs = list(review.changed(sorted(after.iterdir()), before))
    assert pairs == [
        (before / "longer.png", after / "longer.png"), (before / "moved.png", after / "moved.png"), (None, after / "new.png"),
    ]  # fmt: skip
    shown = review.index(pairs)
    assert shown.count("<img") == 5 and "<h2>moved</h2>" in shown
