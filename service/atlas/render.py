"""Pages as HTML. Takes values, gives text; users' names are escaped, and a variable that a page lacks is an error."""

from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from service.query.figures import readable
from service.query.marks import sees

WEB = Path(__file__).parent / "web"
STATIC = WEB / "static"
templates = Environment(loader=FileSystemLoader(WEB / "templates"), autoescape=True, undefined=StrictUndefined)


def page(template: str, **values: Any) -> str:  # noqa: ANN401 - the template's variables
    """Fill a template with values."""
    return templates.get_template(template).render(**values)


def frame(address: str, title: str) -> str:
    """The HTML of a frame that shows a card."""
    return f'<iframe src="{escape(address)}" width="640" height="420" loading="lazy" title="{escape(title)}"></iframe>'


templates.globals["frame"] = frame
templates.globals["field_size"] = sees
templates.filters["readable"] = readable


def style() -> str:
    """The style of all pages."""
    return (STATIC / "atlas.css").read_text(encoding="utf-8")
