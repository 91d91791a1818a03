"""The first page. Takes an atlas and the submitted runs, gives runs grouped by model and corpus, with their covers."""

from collections.abc import Mapping, Sequence
from typing import Literal

from service.atlas import links
from service.atlas.atlas import Atlas
from service.atlas.pages.parts import of_run
from service.atlas.pages.submitted import StatusCard
from service.atlas.pages.values import Page, RunCard, Value
from service.query.catalog import PublishedRun
from workers.kinds import Kind

SHOWN = 12  # runs of a group
SENTENCE = "Every channel of a convolutional network: the images that activate it most, and what in them activates it."


class RunGroup(Value):
    """The newest runs of one model over one corpus, and the number of others; `cover` is a picture of its newest scan."""

    name: str
    cover: str | None
    href: str
    images: int
    channels: int
    layers: int
    runs: tuple[RunCard, ...]
    more: int


class RunsPage(Page):
    """All published runs, the reasons why others cannot be read, and the submitted runs that are not published."""

    kind: Literal["runs"] = "runs"
    groups: tuple[RunGroup, ...]
    runs: tuple[RunCard, ...]
    damaged: dict[str, str]
    under_way: tuple[StatusCard, ...]
    schedules: str | None


def runs(atlas: Atlas, under_way: Sequence[StatusCard], *, has_schedules: bool = False) -> RunsPage:
    """All published runs, the newest first, and the submitted runs that are not published.

    Args:
        atlas: the atlas.
        under_way: the submitted runs that are not published.
        has_schedules: whether the service has a page of schedules.
    """
    published = atlas.runs()
    cards = {run.run: of_run(run) for run in published}
    groups = tuple(_group(members, cards) for members in _members(published))
    return RunsPage(
        title="What does a network look for?",
        description=SENTENCE,
        cover=next((group.cover for group in groups if group.cover), None),
        groups=groups,
        runs=tuple(cards.values()),
        damaged=dict(atlas.damaged()),
        under_way=tuple(under_way),
        schedules=links.SCHEDULES if has_schedules else None,
    )


def _members(published: Sequence[PublishedRun]) -> list[list[PublishedRun]]:
    """The runs by model and corpus. Those without a corpus, such as filters, join the first group of their model."""
    groups: dict[tuple[str, str], list[PublishedRun]] = {}
    for run in published:
        if run.corpus:
            groups.setdefault((run.model, run.corpus), []).append(run)
    for run in published:
        if not run.corpus:
            key = next((key for key in groups if key[0] == run.model), (run.model, ""))
            groups.setdefault(key, []).append(run)
    return list(groups.values())


def _group(members: Sequence[PublishedRun], cards: Mapping[str, RunCard]) -> RunGroup:
    scans = [run for run in members if run.job == Kind.SCAN]
    first = cards[(scans or list(members))[0].run]
    return RunGroup(
        name=first.name,
        cover=links.mosaic(scans[0]) if scans else None,
        href=first.href,
        images=first.images,
        channels=first.channels,
        layers=first.layers,
        runs=tuple(cards[run.run] for run in members[:SHOWN]),
        more=max(0, len(members) - SHOWN),
    )
