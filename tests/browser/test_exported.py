"""An exported site in a real browser, opened from its folder."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from service.http import exporting
from tests.support.published import publish
from workers.store.root import Root

LOOKS_LIKE_A_LINK = """() => [...document.querySelectorAll("a:not([href])")].filter((text) => {
  const own = getComputedStyle(text);
  const link = document.body.appendChild(document.createElement("a"));
  link.href = "#";
  const coloured = own.color === getComputedStyle(link).color;
  link.remove();
  return coloured || own.textDecorationLine !== "none";
}).map((text) => text.outerHTML)"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    root = Root(str(tmp_path_factory.mktemp("root")))
    model = {"source": "deconvoy://none", "fingerprint": "none", "class_names": ("tench", "hot dog")}
    publish(root, model=model, predicted=[(1, "hot dog")] * 12)
    folder = tmp_path_factory.mktemp("site") / "part"
    with ThreadPoolExecutor() as pool:  # the browser's event loop runs in this thread
        pool.submit(exporting.site(root, ["first"], ["relu1"], 2).write, folder).result()
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_without_a_link_does_not_look_like_one(browser, site, scheme):
    page = browser.new_page(color_scheme=scheme)
    texts = 0
    for file in site.rglob("*.html"):
        page.goto(file.as_uri())
        texts += page.locator("a:not([href])").count()
        assert page.evaluate(LOOKS_LIKE_A_LINK) == [], file
    page.close()
    assert texts > 20
