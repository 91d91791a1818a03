"""The documentation site: it has every page, in its menu too, and its links lead to its own pages."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from tests.support.deployed import REPOSITORY

SITE = REPOSITORY / "mkdocs.yml"


@pytest.fixture(scope="module")
def hook():
    about = importlib.util.spec_from_file_location("pages", REPOSITORY / "deploy" / "site" / "pages.py")
    module = importlib.util.module_from_spec(about)
    about.loader.exec_module(module)
    return module


class _Loader(yaml.SafeLoader):
    """Reads MkDocs' file without calling what it names."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def menu(node) -> list[str]:
    if isinstance(node, str):
        return [node]
    return [page for part in (node.values() if isinstance(node, dict) else node) for page in menu(part)]


def test_every_page_is_in_the_menu_once(hook):
    names = menu(yaml.load(SITE.read_text(), _Loader)["nav"])  # noqa: S506 - a safe loader
    assert sorted(names) == sorted(
        {path.name for path in (REPOSITORY / "docs").glob("*.md")} | set(hook.PAGES.values())
    )


def test_every_file_of_the_site_exists(hook):
    assert all((REPOSITORY / source).is_file() for source in (*hook.PAGES, *hook.COPIES.values()))


def test_links_lead_to_the_sites_pages_and_others_become_text(hook):
    known = {"index.md", "service.md", "figure2.jpg", "ARCHITECTURE.md"}
    page = "[a](../README.md#keys) [b](service.md) ![c](figure2.jpg) [d](../deploy/kubernetes) [e](https://x.y/z.md) [f](#g)"
    assert hook.relink(page, known, is_in_docs=True) == (
        "[a](index.md#keys) [b](service.md) ![c](figure2.jpg) d [e](https://x.y/z.md) [f](#g)"
    )
    above = "[a](docs/service.md#keys) ![b](docs/figure2.jpg) [c](ARCHITECTURE.md) [d](LICENSE)"
    assert hook.relink(above, known, is_in_docs=False) == (
        "[a](service.md#keys) ![b](figure2.jpg) [c](ARCHITECTURE.md) d"
    )


def test_every_link_between_documents_leads_to_a_file():
    for path in [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")]:
        text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
            assert (path.parent / Path(target)).exists(), f"{path.name}: {target}"
