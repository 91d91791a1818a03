"""How a run ended. Takes its manifest and the counts of an attempt, gives the Outcome that commands print."""

import time
from dataclasses import dataclass, field
from typing import Any

from jobs.run import publish
from workers.store.manifest import Manifest
from workers.store.root import Root

REJECT_SHARE = 0.05  # allowed in jobs whose spec has no max_reject_share
TOO_MANY_REJECTS = 3  # exit code


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        run: run id.
        root: where its tables are.
        images: images scanned.
        rejects: images rejected.
        exit_code: 0, or 3 if more images were rejected than the spec allows.
        seconds: duration of this attempt.
        already_published: the run was published before this attempt, which changed nothing.
        images_per_s: images scanned per second in this attempt; None if it scanned none.
        shards_run: shards run by this attempt.
        shards_reused: shards whose results existed already.
        groups_run: projection groups run by this attempt.
        groups_reused: projection groups whose results existed already.
        table_bytes: sizes of the tables.
        statuses: number of rows by status, for inversions.
        complaint: why the exit code is not 0; else empty.
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


def outcome_of(published: Manifest, root: str, started: float, **counts: Any) -> Outcome:  # noqa: ANN401 - Outcome's fields
    """The outcome of a published run.

    Args:
        published: its manifest.
        root: where it is published.
        started: start of the attempt, on the monotonic clock.
        counts: further fields of Outcome: what this attempt ran and reused.
    """
    problem = complaint(published)
    return Outcome(
        run=published.run,
        root=root,
        images=published.totals.images,
        rejects=published.totals.rejects,
        exit_code=TOO_MANY_REJECTS if problem else 0,
        complaint=problem,
        seconds=time.monotonic() - started,
        table_bytes={name: sum(part.bytes for part in files) for name, files in published.tables.items()},
        **counts,
    )


def complete_published(root: Root, published: Manifest, started: float) -> Outcome:
    """The outcome of a run that is already published, after `publish.complete`."""
    with root.scratch() as scratch:
        publish.complete(root, published, scratch)
    return outcome_of(published, root.url, started, already_published=True)


def complaint(published: Manifest) -> str:
    """The message about a published run with more rejects than its spec allows; else empty."""
    totals, scan = published.totals, published.sections.scan
    allowed = scan.max_reject_share if scan else REJECT_SHARE
    if totals.rejects <= allowed * totals.listed:
        return ""
    share = f"{totals.rejects} of {totals.listed} images {'was' if totals.rejects == 1 else 'were'} rejected"
    return f"{share}, more than max_reject_share {allowed:g}; the run is published"
