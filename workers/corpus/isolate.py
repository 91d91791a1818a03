"""Files that scans leave out: those that crash or hang a decoder, and stale ones. Takes rows, gives and stores verdicts."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from workers.corpus import fetch
from workers.corpus.crew import TICK_S, Crew, is_done, no_answer, wait_for_answer
from workers.corpus.pixels import PixelFormat
from workers.corpus.trial import Decoder, Patience, first_failure
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
UNMOUNTED = 8  # if at least so many files are checked and all are gone, their storage is taken to be gone
STALE_ENDING = ".stale"  # ends the names of verdicts that a new listing can revoke
STALE = {
    Reason.VANISHED: "the file was listed but no longer exists",
    Reason.CHANGED: "the file has changed since it was listed",
}


@dataclass(frozen=True)
class Verdict:
    """Why a file is left out: it crashes or hangs the decoder, or it is gone or has changed since it was listed."""

    reason: Reason
    detail: str


def find_culprits(
    rows: Sequence["Row"],
    limits: LimitsSpec,
    hang_s: float,
    decode: str = DECODE,
    read_hang_s: float = fetch.READ_HANG_S,
    form: PixelFormat | None = None,
) -> dict[int, Verdict]:
    """Decode rows in fresh processes. A culprit crashes or hangs its process twice while it is decoded alone.

    A process that is killed from outside counts against no image.

    Args:
        rows: the suspects.
        limits: limits on one file.
        hang_s: seconds after which a decode counts as hanging.
        decode: the decoder, as module:function.
        read_hang_s: seconds after which a read counts as hanging.
        form: the pixels that the decoder gives; by default its own.

    Returns:
        Verdicts by image index, for confirmed culprits only.

    Raises:
        ReadError, StoreError, RunStopped: see `first_failure`.
    """
    patience, culprits = Patience(hang_s, read_hang_s), {}
    remaining, decoder = _readable(rows), Decoder(decode, limits, form)
    while remaining and (failure := first_failure(remaining, patience, decoder)):
        alone = remaining[failure.position : failure.position + 1]
        verdict = _try_once(alone, patience, decoder) and _try_once(alone, patience, decoder)
        if verdict:
            culprits[alone[0].image_index] = verdict
        remaining = remaining[failure.position + 1 :]
    return culprits


def find_stale(rows: Sequence["Row"], read_hang_s: float = fetch.READ_HANG_S) -> dict[int, Verdict]:
    """Find listed files that are gone or have changed, without reading them.

    Args:
        rows: rows of a shard.
        read_hang_s: how many seconds the storage may take to answer.

    Returns:
        Verdicts by image index.

    Raises:
        ReadError: the storage does not answer, or the whole corpus or shard is gone, so that no verdict is possible.
        StoreError: a storage kept failing.
    """
    readable, limit = _readable(rows), Limit(read_hang_s)
    crew = Crew(min(CHECKS_AT_ONCE, len(readable)), "check")
    try:
        checks = [crew.submit(_Check(row, limit)) for row in readable]
        for row, check in zip(readable, checks, strict=True):
            while not is_done(check, min(TICK_S, read_hang_s)):
                if limit.is_over():
                    raise no_answer(row.uri, read_hang_s)
        reasons = {row.image_index: check.result() for row, check in zip(readable, checks, strict=True)}
    finally:
        crew.close(wait_s=0)
    _check_mounted([row for row in readable if reasons[row.image_index] is Reason.VANISHED], len(readable), limit)
    return {index: Verdict(reason, STALE[reason]) for index, reason in reasons.items() if reason}


def read_verdicts(root: Root, rows: Iterable["Row"], known: Iterable[str]) -> dict[int, Verdict]:
    """The verdicts on these rows, by image index. `known` are the names of the files below verdicts/, from one listing."""
    names = set(known)
    by_index = {}
    for row in rows if names else ():
        key = _key(row)
        stored = [_read(root, path) for path in _paths(key) if path.rpartition("/")[2] in names]
        for verdict in filter(None, stored[::-1]):
            by_index[row.image_index] = Verdict(verdict.reason, verdict.detail)
    return by_index


def forget_stale(root: Root, listing: "Listing") -> list[str]:
    """Delete the verdicts on stale files that the listing has again, unchanged; returns their uris."""
    uris = _stale_uris(root)
    versions = listing.versions(set(uris.values())) if uris else ()
    revoked = uris.keys() & {path for version in versions for path in _paths(_key_of(*version))}
    for path in revoked:
        root.delete(path)
    return sorted(uris[path] for path in revoked)


def write_verdict(root: Root, row: "Row", verdict: Verdict) -> None:
    """Store a verdict. Deleting the file lets scans try the image again."""
    decoder_path, stale_path = _paths(_key(row))
    path = stale_path if verdict.reason in STALE else decoder_path
    verdicts.write(root, path, StoredVerdict(row.uri, verdict.reason, verdict.detail))


class _Check:
    """Checks whether one file is stale."""

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


def _try_once(alone: Sequence["Row"], patience: Patience, decoder: Decoder) -> Verdict | None:
    """Decode a row alone, once; None if that works."""
    failure = first_failure(alone, patience, decoder)
    return Verdict(failure.reason, failure.detail) if failure and failure.reason else None


def _check_mounted(vanished: Sequence["Row"], checked: int, limit: Limit) -> None:
    """Refuse to give verdicts on files if their whole storage is gone.

    Raises:
        ReadError: their corpus is gone too, or all of at least UNMOUNTED files.
    """
    if not vanished:
        return
    first, last = vanished[0], vanished[-1]
    if len(vanished) == checked >= UNMOUNTED:
        problem = f"all {checked} images from {first.uri} to {last.uri} are gone; is their storage mounted?"
    elif not wait_for_answer(partial(_is_corpus_there, first), first.uri, limit):
        problem = f"{first.uri} and its whole corpus are gone; is their storage mounted?"
    else:
        return
    raise ReadError(f"{problem} Run the same command to resume, or use a new --run to list the corpus again")


def _is_corpus_there(row: "Row") -> bool:
    with fetch.naming(row.uri):
        return retried(partial(fetch.corpus_exists, row.uri, row.image_id), f"looking for the corpus of {row.uri}")


def _readable(rows: Iterable["Row"]) -> list["Row"]:
    return [row for row in rows if not row.removed and not row.refused]


def _stale_uris(root: Root) -> dict[str, str]:
    """The uris of all stale files, by the path of their verdict."""
    return verdict_uris(root, [path for path in verdicts.all_paths(root) if path.endswith(f"{STALE_ENDING}.json")])


def verdict_uris(root: Root, stored: Sequence[str]) -> dict[str, str]:
    """The uris that verdicts are on, by the path of the verdict."""
    with ThreadPoolExecutor(CHECKS_AT_ONCE) as threads:
        known = list(threads.map(partial(_read, root), stored))
    return {path: verdict.uri for path, verdict in zip(stored, known, strict=True) if verdict}


def _read(root: Root, path: str) -> StoredVerdict | None:
    """The verdict in a file; None if it is damaged or another run has deleted it."""
    try:
        return verdicts.read(root, path)
    except ValueError:
        _warn_of_damage(root.path(path))
        return None


@cache
def _warn_of_damage(path: str) -> None:
    """Warn once per process."""
    log.Log().say(f"{path} is damaged and ignored; delete it", log.WARNING)


def _paths(key: str) -> tuple[str, str]:
    """The paths of a verdict on a file that crashes or hangs its decoder, and of one on a stale file."""
    return paths.verdict_path(key), paths.verdict_path(f"{key}{STALE_ENDING}")


def _key(row: "Row") -> str:
    return _key_of(row.uri, row.bytes, row.etag)


def _key_of(uri: str, size_bytes: int, etag: str) -> str:
    return hashlib.sha256(json.dumps([uri, size_bytes, etag]).encode()).hexdigest()[:32]
