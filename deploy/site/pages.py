"""A hook of MkDocs. Takes its files, adds the pages that lie beside docs/, and gives every page links that work on the site.

A link to a file that the site does not have, such as a Kubernetes manifest, becomes plain text.
"""

import re
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
PAGES = {"README.md": "index.md"} | {
    name: name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
}
COPIES = {"icon.svg": "service/atlas/web/static/icon.svg", "site.css": "deploy/site/site.css"}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|#)([^)#\s]*)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:  # noqa: ANN401 - MkDocs' types are not installed where this is checked
    """Add the pages and files that lie elsewhere."""
    from mkdocs.structure.files import File

    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(REPOSITORY / source).read_text(encoding="utf-8")))
    for name, source in COPIES.items():
        files.append(File.generated(config, name, abs_src_path=str(REPOSITORY / source)))
    return files


def on_page_markdown(markdown: str, *, page: Any, files: Any, **_: Any) -> str:  # noqa: ANN401
    """A page with links of the site."""
    known = {file.src_uri for file in files}
    return relink(markdown, known, is_in_docs=page.file.src_uri not in PAGES.values())


def relink(markdown: str, known: set[str], *, is_in_docs: bool) -> str:
    """A page whose links are relative to the site, which has all pages in one folder.

    Args:
        markdown: the page.
        known: the files of the site.
        is_in_docs: whether the page lies in docs/; else it lies above.
    """

    def replace(match: re.Match[str]) -> str:
        sign, text, path, anchor = match[1], match[2], match[3], match[4] or ""
        inside = path if is_in_docs and not path.startswith("../") else path.removeprefix("../").removeprefix("docs/")
        target = PAGES.get(inside, inside)
        return f"{sign}[{text}]({target}{anchor})" if target in known else text

    return LINK.sub(replace, markdown)
