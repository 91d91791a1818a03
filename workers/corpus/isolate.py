"""Files that no scan may touch: poison and stale ones. Takes rows, gives verdicts, and keeps those under the root."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from workers.corpus import fetch
from workers.corpus.crew import TICK_S, Crew, answered, is_done, no_answer
from workers.corpus.trial import Patience, first_failure
from workers.errors import ReadError, Reason
from workers.host import log
from workers.host.hangs import Limit
from workers.host.retrying import retried
from workers.spec.parts import LimitsSpec
from workers.store import paths, verdicts
from workers.store.root import Root
from workers.store.verdicts import StoredVerdict

if TYPE_CHECKING:
    from workers.corpus.manifest import Listing, Row

DECODE = "workers.corpus.decode:decode"
CHECKS_AT_ONCE = 16
UNMOUNTED = 8  # so many rows of which every file is gone are a storage that is gone
STALE_ENDING = ".stale"  # of the names of verdicts that a listing can revoke
STALE = {
    Reason.VANISHED: "the file was listed and is gone",
    Reason.CHANGED: "the file has changed since it was listed",
}


@dataclass(frozen=True)
class Verdict:
    """A file that is known to crash or hang the decoder, or to be gone or another one since it was listed."""

    reason: Reason
    detail: str


def suspects(
    rows: Sequence["Row"],
    limits: LimitsSpec,
    hang_s: float,
    decode: str = DECODE,
    read_hang_s: float = fetch.READ_HANG_S,
) -> dict[int, Verdict]:
    """Decode rows in fresh processes. A culprit is what crashes or hangs alone, twice; being killed is no one's fault.

    Args:
        rows: the suspects.
        limits: what one file may cost.
        hang_s: a decode that takes longer hangs, seconds.
        decode: the decoder, as module:function.
        read_hang_s: a read that takes longer hangs, seconds.

    Returns:
        Verdicts by image index, for confirmed culprits only.

    Raises:
        ReadError, StoreError, RunStopped: see `first_failure`.
    """
    patience, culprits = Patience(hang_s, read_hang_s), {}
    remaining = _readable(rows)
    while remaining and (failure := first_failure(remaining, limits, patience, decode)):
        alone = remaining[failure.position : failure.position + 1]
        verdict = _tried(alone, limits, patience, decode) and _tried(alone, limits, patience, decode)
        if verdict:
            culprits[alone[0].image_index] = verdict
        remaining = remaining[failure.position + 1 :]
    return culprits


def stale(rows: Sequence["Row"], read_hang_s: float = fetch.READ_HANG_S) -> dict[int, Verdict]:
    """Which of some listed files are gone or have changed, without reading them.

    Args:
        rows: of a shard.
        read_hang_s: how long the storage may be silent, seconds.

    Returns:
        Verdicts by image index.

    Raises:
        ReadError: it cannot be known: the storage does not answer, or the whole corpus or shard is gone.
        StoreError: a storage kept failing.
    """
    wanted, limit = _readable(rows), Limit(read_hang_s)
    crew = Crew(min(CHECKS_AT_ONCE, len(wanted)), "check")
    try:
        checks = [crew.submit(_Check(row, limit)) for row in wanted]
        for row, check in zip(wanted, checks, strict=True):
            while not is_done(check, min(TICK_S, read_hang_s)):
                if limit.is_over():
                    raise no_answer(row.uri, read_hang_s)
        reasons = {row.image_index: check.result() for row, check in zip(wanted, checks, strict=True)}
    finally:
        crew.close(wait_s=0)
    _check_mounted([row for row in wanted if reasons[row.image_index] is Reason.VANISHED], len(wanted), limit)
    return {index: Verdict(reason, STALE[reason]) for index, reason in reasons.items() if reason}


def read_verdicts(root: Root, rows: Iterable["Row"], known: Iterable[str]) -> dict[int, Verdict]:
    """The verdicts on these rows; `known` are the names of the files below verdicts/, from one listing."""
    names = set(known)
    found = {}
    for row in rows if names else ():
        key = _key(row)
        stored = [_read(root, path) for path in _paths(key) if path.rpartition("/")[2] in names]
        for verdict in filter(None, stored[::-1]):
            found[row.image_index] = Verdict(verdict.reason, verdict.detail)
    return found


def forget_stale(root: Root, listing: "Listing") -> list[str]:
    """Forget which files were stale where today's listing has them again, as they were; gives their uris."""
    known = _stale_verdicts(root)
    versions = listing.versions(set(known.values())) if known else ()
    there = {path for version in versions for path in _paths(_key_of(*version))}
    for path in known.keys() & there:
        root.delete(path)
    return sorted(known[path] for path in known.keys() & there)


def write_verdict(root: Root, row: "Row", verdict: Verdict) -> None:
    """Remember a verdict; deleting the file gives its image another chance."""
    decoders, listings = _paths(_key(row))
    path = listings if verdict.reason in STALE else decoders
    verdicts.write(root, path, StoredVerdict(row.uri, verdict.reason, verdict.detail))


class _Check:
    """Asks a storage about one file."""

    def __init__(self, row: "Row", limit: Limit) -> None:
        self._row, self._limit = row, limit

    def __call__(self) -> Reason | None:
        try:
            with fetch.naming(self._row.uri):
                return retried(self._ask, f"checking {self._row.uri}")
        finally:
            self._limit.restart()

    def _ask(self) -> Reason | None:
        self._limit.restart()
        return fetch.staleness(self._row.uri, self._row.bytes, self._row.etag)


def _tried(alone: Sequence["Row"], limits: LimitsSpec, patience: Patience, decode: str) -> Verdict | None:
    """The verdict of one try of a row alone."""
    failure = first_failure(alone, limits, patience, decode)
    return Verdict(failure.reason, failure.detail) if failure and failure.reason else None


def _check_mounted(vanished: Sequence["Row"], checked: int, limit: Limit) -> None:
    """Refuse to judge files that are gone with their whole storage.

    Raises:
        ReadError: their corpus is gone too, or all of the many files that were checked are.
    """
    if not vanished:
        return
    first, last = vanished[0], vanished[-1]
    if len(vanished) == checked >= UNMOUNTED:
        what = f"all {checked} images from {first.uri} to {last.uri} are gone; is their storage mounted?"
    elif not answered(partial(_is_corpus_there, first), first.uri, limit):
        what = f"{first.uri} is gone, like all of its corpus; is its storage mounted?"
    else:
        return
    raise ReadError(f"{what} The same command resumes the run, another --run lists the corpus again")


def _is_corpus_there(row: "Row") -> bool:
    with fetch.naming(row.uri):
        return retried(partial(fetch.is_corpus_there, row.uri, row.image_id), f"looking for the corpus of {row.uri}")


def _readable(rows: Iterable["Row"]) -> list["Row"]:
    return [row for row in rows if not row.removed and not row.refused]


def _stale_verdicts(root: Root) -> dict[str, str]:
    """By its path the uri that each verdict on a stale file is about."""
    wanted = [path for path in verdicts.all_paths(root) if path.endswith(f"{STALE_ENDING}.json")]
    with ThreadPoolExecutor(CHECKS_AT_ONCE) as threads:
        stored = list(threads.map(partial(_read, root), wanted))
    return {path: verdict.uri for path, verdict in zip(wanted, stored, strict=True) if verdict}


def _read(root: Root, path: str) -> StoredVerdict | None:
    """The verdict in a file; None if it is damaged, or another run has deleted it."""
    try:
        return verdicts.read(root, path)
    except ValueError:
        _warn_of_damage(root.path(path))
        return None


@cache
def _warn_of_damage(path: str) -> None:
    """Once in each process."""
    log.Log().say(f"{path} is damaged: ignored; delete it", log.WARNING)


def _paths(key: str) -> tuple[str, str]:
    """Where a verdict on a file that its decoder cannot take is stored, and one on a stale file."""
    return paths.verdict_path(key), paths.verdict_path(f"{key}{STALE_ENDING}")


def _key(row: "Row") -> str:
    return _key_of(row.uri, row.bytes, row.etag)


def _key_of(uri: str, size_bytes: int, etag: str) -> str:
    return hashlib.sha256(json.dumps([uri, size_bytes, etag]).encode()).hexdigest()[:32]
