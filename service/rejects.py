"""Files that crashed or hung their decoders. Takes a root or a run, gives what is known, has the next scan try them again."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from service.catalog import PublishedRun
from service.query.reading import read
from workers.errors import DamagedFile, QueryError, Reason, RunError
from workers.store import paths
from workers.store.root import Root
from workers.store.schema import REJECTS

# By a verdict that is kept.
JUDGED = [str(each) for each in (Reason.DECODER_CRASH, Reason.DECODER_HANG, Reason.VANISHED, Reason.CHANGED)]


@dataclass(frozen=True)
class Verdict:
    """A file that crashed or hung its decoder, and is left out of every scan until it is tried again."""

    uri: str
    reason: str
    detail: str
    path: str


def verdicts(root: Root) -> Sequence[Verdict]:
    """The files that crashed or hung their decoders."""
    found = []
    for name in sorted(root.files(paths.VERDICTS)):
        path = f"{paths.VERDICTS}/{name}"
        try:
            told = json.loads(root.read(path))
            found.append(Verdict(told["uri"], told["reason"], told["detail"], path))
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedFile(
                f"{root.path(path)} is damaged; delete it: the file that it is about is tried again"
            ) from error
    return found


def retry(root: Root, uris: Sequence[str]) -> Sequence[Verdict]:
    """Forget what is known of some files, or of all, so that the next scan of them tries them again.

    Raises:
        RunError: nothing is known of one that is named.
    """
    known = verdicts(root)
    unknown = set(uris) - {verdict.uri for verdict in known}
    if unknown:
        raise RunError(
            f"{min(unknown)!r} is not left out of scans for its decoder's sake; other rejects are always tried again"
        )
    chosen = [verdict for verdict in known if not uris or verdict.uri in uris]
    for verdict in chosen:
        root.delete(verdict.path)
    return chosen


def retry_of(run: PublishedRun, uris: Sequence[str] = ()) -> Sequence[Verdict]:
    """Forget what is known of some of a run's rejects, or of all; the run stays as it is. See `retry`.

    Raises:
        QueryError: one that is named is no reject of the run that crashed or hung its decoder.
        DamagedRun: the run's files are not the ones that its manifest names.
    """
    judged = set(read(run, REJECTS, pc.field("reason").isin(JUDGED), ["uri"])["uri"].to_pylist())
    unknown = set(uris) - judged
    if unknown:
        raise QueryError(f"run {run.run!r} has no reject {min(unknown)!r} that crashed or hung its decoder")
    left = judged.intersection(verdict.uri for verdict in verdicts(run.root)) & set(uris or judged)
    return retry(run.root, sorted(left)) if left else ()
