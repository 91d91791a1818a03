"""Pages as HTML. Takes a page's data, gives text; what users have named is escaped wherever it stands."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

WEB = Path(__file__).parent / "web"
STATIC = WEB / "static"
templates = Environment(loader=FileSystemLoader(WEB / "templates"), autoescape=True)


def page(template: str, **told: Any) -> str:  # noqa: ANN401 - what the template names
    """A template with what it is told."""
    return templates.get_template(template).render(**told)


def style() -> str:
    """The style of all pages."""
    return (STATIC / "atlas.css").read_text(encoding="utf-8")
