"""Verification of published runs. Takes a root and a run id or None, gives what is wrong with each run."""

from collections.abc import Mapping, Sequence
from functools import partial

from service.query import catalog
from workers.errors import RunError, nearest
from workers.host.retrying import retried
from workers.spec.make import check_run_id
from workers.store.root import Root
from workers.store.verify import FileProblem, verify


def verify_runs(root: Root, run: str | None) -> Mapping[str, Sequence[FileProblem]]:
    """What is wrong with a published run, or with all of them, by run id; every file is read.

    Raises:
        RunError: the run is not published.
        StoreError: the store keeps failing.
    """
    ids = [*catalog.marks(root)]
    if run is not None and check_run_id(run) not in ids:
        raise RunError(f"run {run!r} is not published in {root.url!r}; {nearest(run, ids)}")
    wanted = ids if run is None else [run]
    return {id_: retried(partial(_findings, root, id_), f"reading run {id_!r}") for id_ in wanted}


def _findings(root: Root, run: str) -> Sequence[FileProblem]:
    return list(verify(root, run))
