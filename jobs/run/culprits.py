"""Images that crash or hang their decoder, or are stale. Takes an item that failed, stores verdicts on its culprits."""

from functools import partial

from jobs.run import plan
from jobs.watch import Watcher
from workers.actors.job import Job
from workers.actors.reading import pixel_format
from workers.actors.shard import Group, Work, log_fields
from workers.corpus import isolate
from workers.errors import StaleImage, SuspectImages
from workers.spec.parts import JobSpec
from workers.store.root import Root

HANG_S = 30.0


def store_verdicts(root: Root, job: Job[JobSpec], item: Work | Group, error: Exception, watch: Watcher) -> bool:
    """Find the images that caused an error and store a verdict on each; returns whether there are any.

    Images that have a verdict are not read, and so are not to blame.
    """
    rows = [row for span in plan.spans_of(item) for row in plan.unjudged_rows(root, *span)]
    if isinstance(error, SuspectImages):
        rows = [row for row in rows if error.image_index in (None, row.image_index)]
    find_culprits = partial(isolate.find_culprits, limits=job.spec.limits, hang_s=HANG_S, form=pixel_format(job))
    find = isolate.find_stale if isinstance(error, StaleImage) else find_culprits
    verdicts = find(rows)
    for row in rows:
        if row.image_index in verdicts:
            verdict = verdicts[row.image_index]
            line = f"{row.uri}: {verdict.detail}; it is rejected"
            watch.say(line, image=row.uri, reason=verdict.reason, **log_fields(item))
            isolate.write_verdict(root, row, verdict)
    return bool(verdicts)
