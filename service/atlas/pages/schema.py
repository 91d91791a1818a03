"""The schema of every page's JSON twin. Takes nothing, gives JSON Schema by path: what `docs/pages.json` holds."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import TypeAdapter

from service.atlas.instruments.registry import INSTRUMENTS
from service.atlas.pages.card import EmbedPage
from service.atlas.pages.comparison import ComparePage
from service.atlas.pages.evolution import StripsPage
from service.atlas.pages.home import RunsPage
from service.atlas.pages.images import ImagePage
from service.atlas.pages.labelled import LabelPage
from service.atlas.pages.plain import ErrorPage, LimitsPage
from service.atlas.pages.run import ImagesPage, LabelsPage, RejectsPage, RunPage
from service.atlas.pages.scans import ChannelPage, LayerPage
from service.atlas.pages.scheduled import SchedulesPage
from service.atlas.pages.search import SearchPage
from service.atlas.pages.submitted import StatusPage
from service.atlas.pages.values import Page

DIALECT = "https://json-schema.org/draft/2020-12/schema"
REF = "#/$defs/"
ANY = "*"  # stands for every path: a page that is not there
RUN_PAGES = tuple(dict.fromkeys(page for each in INSTRUMENTS.values() for page in each.run_pages))
ROW_PAGES = tuple(page for each in INSTRUMENTS.values() for page in each.row_pages)
PAGES: Mapping[str, tuple[type[Page], ...]] = {
    "/": (RunsPage,),
    "/schedules": (SchedulesPage,),
    "/limits": (LimitsPage,),
    "/search": (SearchPage,),
    "/compare": (ComparePage,),
    "/embed/runs/{run}/layers/{layer}/channels/{channel}": (EmbedPage,),
    "/runs/{run}/image": (ImagePage,),
    "/runs/{run}/label": (LabelPage,),
    "/runs/{run}/labels": (LabelsPage,),
    "/runs/{run}/images": (ImagesPage,),
    "/runs/{run}/rejects": (RejectsPage,),
    "/runs/{run}/rows/{number}": ROW_PAGES,
    "/runs/{run}/layers/{layer}/channels/{channel}": (ChannelPage,),
    "/runs/{run}/layers/{layer}": (LayerPage, StripsPage),
    "/runs/{run}": (RunPage, *RUN_PAGES, StatusPage),
    ANY: (ErrorPage,),
}


def twin(path: str) -> str:
    """Where the data of a page is."""
    return "/index.json" if path == "/" else f"{path}.json"


def described() -> dict[str, Any]:
    """The kinds of page by the path of their twins, and the schema of each kind."""
    every = [page for pages in PAGES.values() for page in pages]
    mode: Literal["serialization"] = "serialization"
    keyed = [(kind_of(page), mode, TypeAdapter(page)) for page in every]
    schemas, definitions = TypeAdapter.json_schemas(keyed, ref_template=f"{REF}{{model}}")
    kinds, shared = {kind: schema for (kind, _), schema in schemas.items()}, definitions["$defs"]
    return {
        "$schema": DIALECT,
        "title": "Pages of the atlas as JSON",
        "description": "The schemas of the responses of each path, by their `kind`.",
        "paths": {
            ANY if path == ANY else twin(path): [kind_of(page) for page in pages] for path, pages in PAGES.items()
        },
        "kinds": kinds,
        "$defs": {name: shared[name] for name in sorted(_named(kinds, shared))},
    }


def _named(node: Any, shared: Mapping[str, Any]) -> set[str]:  # noqa: ANN401 - JSON
    """The shared schemas that a schema names, directly or by way of others; a row's own ones have become its table's."""
    text = json.dumps(node)
    found = {name for name in shared if f'"{REF}{name}"' in text}
    rest = {name: schema for name, schema in shared.items() if name not in found}
    return found.union(*(_named(shared[name], rest) for name in found))


def kind_of(page: type[Page]) -> str:
    """The kind that a page's twin names."""
    return str(page.model_fields["kind"].default)
