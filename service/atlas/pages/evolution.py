"""Pages about features during training. Takes a run of checkpoints, gives the values that pages show and JSON twins send."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.pages import parts
from service.atlas.pages.parts import SAYS
from service.atlas.pages.values import LayerCard, Page, PageOfList, RunCard, Value
from service.query import evolution
from service.query.catalog import PublishedRun
from service.query.evolution import Course, Frame, Strip

SHOWN = 16  # channels on a page
SORTS = ("overlap", "channel")  # the most changed first, or by number
FIGURE = (320.0, 100.0)  # width and height of a layer's curves
NOTE = (
    "Each frame shows the image that drives the channel most at that checkpoint. A strip jumps when this image changes."
)

SHARES = "Percentages: share of the channel's top images in common with the last checkpoint"


@dataclass(frozen=True, kw_only=True)
class CourseCard(LayerCard):
    """A layer during training: shares by checkpoint, and curves as the points of a figure."""

    overlap: tuple[float | None, ...]
    settled: tuple[float, ...]
    median: str | None
    dead: int
    overlap_curve: str
    settled_curve: str


class EvolutionPage(Page):
    """The development of each layer during training."""

    kind: Literal["evolution"] = "evolution"
    run: RunCard
    rejects_by_reason: dict[str, int]
    says: tuple[str, ...]
    checkpoints: tuple[str, ...]
    diverged: tuple[str, ...]
    settled_share: float | None
    layers: tuple[CourseCard, ...]


@dataclass(frozen=True)
class FrameCard(Frame):
    """A channel at one checkpoint."""

    href: str
    patch: str
    projection: str


class StripCard(Value):
    """A channel during training."""

    channel: int
    settled_since: int | None
    frames: tuple[FrameCard, ...]


class StripsPage(PageOfList):
    """The strips of some channels of a layer."""

    kind: Literal["strips"] = "strips"
    run: RunCard
    layer: LayerCard
    says: tuple[str, ...]
    checkpoints: tuple[str, ...]
    diverged: tuple[str, ...]
    sort: str
    sorts: tuple[str, ...]
    strips: tuple[StripCard, ...]


def of_run(run: PublishedRun) -> EvolutionPage:
    """The development of each layer during training."""
    names = evolution.checkpoints(run)
    return EvolutionPage(
        title=run.run,
        run=parts.of_run(run),
        rejects_by_reason=dict(run.rejects_by_reason),
        says=(NOTE,),
        checkpoints=names,
        diverged=evolution.diverged(run),
        settled_share=run.sections.evolve.settled_share if run.sections.evolve else None,
        layers=tuple(_course(run, course, names) for course in evolution.courses(run)),
    )


def layer(atlas: Atlas, run_id: str, name: str, start: int, sort: str = "") -> StripsPage:
    """The strips of some channels of a layer, by default the most changed first."""
    run, sort = atlas.run(run_id), parts.choose("sort", sort, SORTS)
    every = evolution.strips(run, name)
    ordered = evolution.most_changed(every) if sort == "overlap" else every
    link = partial(links.strips, run, name, sort=sort if sort != SORTS[0] else "")
    shown, fields = parts.paginate(ordered, start, SHOWN, link)
    return StripsPage(
        title=f"{name} of {run.run} over training",
        run=parts.of_run(run),
        layer=parts.of_layer(run, run.layer(name)),
        says=(NOTE, f"{SHARES} (of {run.k} at most).", SAYS["projection"]),
        sort=sort,
        sorts=SORTS,
        checkpoints=evolution.checkpoints(run),
        diverged=evolution.diverged(run),
        strips=tuple(_strip(run, strip) for strip in shown),
        **fields,
    )


def _course(run: PublishedRun, course: Course, names: Sequence[str]) -> CourseCard:
    return CourseCard(
        **vars(parts.of_layer(run, course.layer)),
        overlap=course.overlap,
        settled=course.settled,
        median=names[course.median] if course.median is not None else None,
        dead=course.dead,
        overlap_curve=_curve(course.overlap),
        settled_curve=_curve(course.settled),
    )


def _strip(run: PublishedRun, strip: Strip) -> StripCard:
    frames = tuple(_frame(run, frame) for frame in strip.frames)
    return StripCard(channel=strip.channel, settled_since=strip.settled_since, frames=frames)


def _frame(run: PublishedRun, frame: Frame) -> FrameCard:
    return FrameCard(
        **vars(frame),
        href=links.row(run, frame.number),
        patch=links.picture(run, frame.number, "patch"),
        projection=links.picture(run, frame.number, "projection"),
    )


def _curve(shares: Sequence[float | None]) -> str:
    """Shares by checkpoint as the points of a figure."""
    (width, height), last = FIGURE, max(1, len(shares) - 1)
    known = [(number, share) for number, share in enumerate(shares) if share is not None]
    return " ".join(f"{number / last * width:.1f},{height * (1 - share):.1f}" for number, share in known)
