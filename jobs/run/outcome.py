"""How a run ended. Takes its manifest.json and what an attempt did, gives what commands tell and their exit code."""

import time
from dataclasses import dataclass, field
from typing import Any

from jobs.run import publish
from workers.store.manifest import Manifest
from workers.store.root import Root

REJECT_SHARE = 0.05  # of jobs whose spec does not say
TOO_MANY_REJECTS = 3  # exit code


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        run: run id.
        root: where its tables are.
        images: images scanned.
        rejects: images not used.
        exit_code: 0, or 3 if more images were rejected than the spec allows.
        seconds: time of this attempt.
        already_published: the run was there before and nothing was done.
        images_per_s: images that this attempt scanned, per second of its scan; None if there was nothing to scan.
        shards_run: shards scanned by this attempt.
        shards_reused: shards that were done before.
        groups_run: projection groups of this attempt.
        groups_reused: projection groups that were done before.
        table_bytes: sizes of the tables.
        statuses: of an inversion's rows, how many have each status.
        complaint: why the exit code is not 0, or nothing.
    """

    run: str
    root: str
    images: int
    rejects: int
    exit_code: int
    seconds: float
    already_published: bool = False
    images_per_s: float | None = None
    shards_run: int = 0
    shards_reused: int = 0
    groups_run: int = 0
    groups_reused: int = 0
    table_bytes: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    complaint: str = ""


def ended(published: Manifest, root: str, started: float, **did: Any) -> Outcome:  # noqa: ANN401 - Outcome's fields
    """The outcome of a published run.

    Args:
        published: its manifest.
        root: where it is.
        started: when the attempt began, on the monotonic clock.
        did: what this attempt did.
    """
    wrong = complaint(published)
    return Outcome(
        run=published.run,
        root=root,
        images=published.totals.images,
        rejects=published.totals.rejects,
        exit_code=TOO_MANY_REJECTS if wrong else 0,
        complaint=wrong,
        seconds=time.monotonic() - started,
        table_bytes={name: sum(part.bytes for part in files) for name, files in published.tables.items()},
        **did,
    )


def published_before(root: Root, published: Manifest, started: float) -> Outcome:
    """The outcome of a run that is published already; its row in `runs` is added if it is missing."""
    with root.scratch() as scratch:
        publish.complete(root, published, scratch)
    return ended(published, root.url, started, already_published=True)


def complaint(published: Manifest) -> str:
    """What is wrong with a published run: more images were rejected than its spec allows; nothing if not."""
    totals, scan = published.totals, published.asked.scan
    allowed = scan.max_reject_share if scan else REJECT_SHARE
    if totals.rejects <= allowed * totals.listed:
        return ""
    share = f"{totals.rejects} of {totals.listed} images were rejected"
    return f"{share}, more than max_reject_share {allowed:g}; the run is published"
