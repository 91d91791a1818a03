"""The frozen values that pages are made of. Takes plain fields, gives values that templates show and JSON twins send."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, JsonValue

from service.query.layers import Channel
from workers.store.facts import LayerFacts


class Value(BaseModel):
    """A part of a page: frozen, and without fields that it does not declare."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Page(Value):
    """A page: `kind` names its template; `description` and `cover`, a picture, go with its link where people share it."""

    kind: str
    title: str
    description: str = ""
    cover: str | None = None


class PageOfList(Page):
    """A page of a longer list: items `first` to `last` of `total`, counted from 1, and the addresses of its neighbours."""

    total: int
    first: int
    last: int
    previous: str | None
    next: str | None


class Link(Value):
    """A run, and the address of something in it."""

    run: str
    href: str


class RunCard(Value):
    """A published run; `input` is the height and width of the model's input, pixels; `relabelled` when it was given labels.

    `name` gives its model and corpus by their short names.
    """

    run: str
    job: str
    created: str
    relabelled: str | None
    name: str
    model: str
    model_name: str
    corpus: str
    corpus_name: str
    images: int
    rejects: int
    passed_over: dict[str, int]
    input: tuple[int, int]
    method: str
    spec: dict[str, JsonValue]
    channels: int
    layers: int
    href: str


@dataclass(frozen=True, kw_only=True)
class LayerCard(LayerFacts):
    """A layer, and its page.

    `marks`: short words for what is special about it (`gated`, `no projections`), and their meanings.
    """

    marks: dict[str, str]
    href: str


@dataclass(frozen=True, kw_only=True)
class LayerState(LayerCard):
    """A layer, and the number of its dead channels."""

    dead: int
    dead_share: float


@dataclass(frozen=True)
class ChannelCard(Channel):
    """A channel on a wall, and the note on it, if there is one."""

    href: str
    picture: str
    note: str | None = None


class CellCard(Value):
    """One of a channel's top images, with its patch and projection; the box is half-open, in pixels of the source image."""

    rank: int
    score: float
    image_id: str
    label: str | None
    location: tuple[int, int]
    source_box: tuple[int, int, int, int]
    href: str
    patch: str
    projection: str


class TellingCard(Value):
    """A channel that is worth a look: of its `top` top images, `images` have the label."""

    channel: int
    label: str | None
    images: int
    top: int
    href: str
    picture: str
