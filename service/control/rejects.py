"""Stored verdicts on files. Takes a root or a run, lists its verdicts, or deletes them so that scans read the files again."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from service.query.catalog import PublishedRun
from service.query.reading import read
from workers.errors import DamagedFile, QueryError, Reason, RunError
from workers.store import verdicts as stored
from workers.store.root import Root
from workers.store.tables.shared import REJECTS

# Reasons of rejects that have a stored verdict.
JUDGED = [str(reason) for reason in (Reason.DECODER_CRASH, Reason.DECODER_HANG, Reason.VANISHED, Reason.CHANGED)]


@dataclass(frozen=True)
class LeftOut:
    """A file with a stored verdict, which scans leave out: it crashed or hung its decoder, vanished, or changed after listing."""

    uri: str
    reason: str
    detail: str
    path: str


def verdicts(root: Root) -> Sequence[LeftOut]:
    """All stored verdicts of a root."""
    files = []
    for path in stored.all_paths(root):
        try:
            verdict = stored.read(root, path)
        except ValueError as error:
            raise DamagedFile(
                f"{root.path(path)} is damaged; delete it, and the next scan reads its file again"
            ) from error
        if verdict is not None:  # a run may have deleted it since it was listed
            files.append(LeftOut(verdict.uri, verdict.reason.value, verdict.detail, path))
    return files


def retry(root: Root, uris: Sequence[str]) -> Sequence[LeftOut]:
    """Delete the stored verdicts on some files, or all, so that the next scan reads these files again.

    Raises:
        RunError: a file has no stored verdict.
    """
    known = verdicts(root)
    unknown = set(uris) - {verdict.uri for verdict in known}
    if unknown:
        raise RunError(
            f"{min(unknown)!r} has no stored verdict; other rejects are read again whenever their shard is scanned"
        )
    chosen = [verdict for verdict in known if not uris or verdict.uri in uris]
    for verdict in chosen:
        root.delete(verdict.path)
    return chosen


def retry_of(run: PublishedRun, uris: Sequence[str] = ()) -> Sequence[LeftOut]:
    """Delete the stored verdicts on some of a run's rejects, or all; the run itself does not change. See `retry`.

    Raises:
        QueryError: a file is not a reject of the run, or has no stored verdict.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    judged = set(read(run, REJECTS, pc.field("reason").isin(JUDGED), ["uri"])["uri"].to_pylist())
    unknown = set(uris) - judged
    if unknown:
        raise QueryError(f"run {run.run!r} has no reject {min(unknown)!r} with a stored verdict")
    left = judged.intersection(verdict.uri for verdict in verdicts(run.root)) & set(uris or judged)
    return retry(run.root, sorted(left)) if left else ()
