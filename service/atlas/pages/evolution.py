"""Pages about features over a training. Takes a run of checkpoints, gives plain values."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.pages import parts
from service.atlas.pages.parts import SAYS, Page
from service.query import evolution
from service.query.catalog import PublishedRun
from service.query.evolution import Course, Strip

SHOWN = 16  # channels on a page
FIGURE = (320.0, 100.0)  # width and height of a layer's curves


def of_run(run: PublishedRun) -> Page:
    """How each layer comes to be what it is."""
    names = evolution.checkpoints(run)
    return {
        "kind": "evolution",
        "says": [SAYS["evolve"]],
        "checkpoints": names,
        "diverged": evolution.diverged(run),
        "layers": [_course(run, each, names) for each in evolution.courses(run)],
    }


def layer(atlas: Atlas, run_id: str, name: str, start: int) -> Page:
    """The strips of some channels of a layer."""
    run = atlas.run(run_id)
    every = evolution.strips(run, name)
    start = parts.begun(start, len(every), SHOWN)
    shown = every[start : start + SHOWN]
    return {
        "kind": "strips",
        "title": f"{name} of {run.run} over the training",
        "run": parts.of_run(run),
        "layer": parts.of_layer(run, run.layer(name)),
        "says": [SAYS["evolve"], SAYS["projection"]],
        "checkpoints": evolution.checkpoints(run),
        "diverged": evolution.diverged(run),
        "strips": [_strip(run, each) for each in shown],
        "total": len(every),
        "first": start + 1,
        "last": start + len(shown),
        "previous": links.strips(run, name, max(0, start - SHOWN)) if start else None,
        "next": links.strips(run, name, start + SHOWN) if start + SHOWN < len(every) else None,
    }


def _course(found: PublishedRun, course: Course, names: Sequence[str]) -> dict[str, Any]:
    return parts.of_layer(found, course.layer) | {
        "overlap": course.overlap,
        "settled": course.settled,
        "median": names[course.median] if course.median is not None else None,
        "dead": course.dead,
        "overlap_curve": _curve(course.overlap),
        "settled_curve": _curve(course.settled),
    }


def _strip(found: PublishedRun, strip: Strip) -> dict[str, Any]:
    frames = [
        asdict(frame)
        | {
            "href": links.row(found, frame.number),
            "patch": links.picture(found, frame.number, "patch"),
            "projection": links.picture(found, frame.number, "projection"),
        }
        for frame in strip.frames
    ]
    return {"channel": strip.channel, "settled_since": strip.settled_since, "frames": frames}


def _curve(shares: Sequence[float | None]) -> str:
    """Shares by checkpoint as the points of a figure."""
    (width, height), last = FIGURE, max(1, len(shares) - 1)
    known = [(number, share) for number, share in enumerate(shares) if share is not None]
    return " ".join(f"{number / last * width:.1f},{height * (1 - share):.1f}" for number, share in known)
