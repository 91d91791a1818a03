"""Files that no scan may touch: poison and stale ones. Takes rows, gives verdicts, and keeps those under the root."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers import retrying
from workers.corpus import sources
from workers.corpus.crew import TICK_S, Crew, is_done, no_answer
from workers.corpus.hangs import Limit
from workers.corpus.trial import Patience, first_failure
from workers.errors import ReadError, Reason
from workers.retrying import retried
from workers.spec import LimitsSpec
from workers.store import paths
from workers.store.root import Root

if TYPE_CHECKING:
    from workers.corpus.manifest import Listing, Row

DECODE = "workers.corpus.decode:decode"
CHECKS_AT_ONCE = 16
UNMOUNTED = 8  # so many rows of which every file is gone are a storage that is gone
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
    read_hang_s: float = sources.READ_HANG_S,
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


def stale(rows: Sequence["Row"], read_hang_s: float = sources.READ_HANG_S) -> dict[int, Verdict]:
    """Which of some listed files are gone or have changed, without reading them.

    Args:
        rows: of a shard.
        read_hang_s: how long the storage may be silent, seconds.

    Returns:
        Verdicts by image index.

    Raises:
        ReadError: it cannot be known: the storage does not answer, or all of the files are gone.
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
    if len(wanted) >= UNMOUNTED and set(reasons.values()) == {Reason.VANISHED}:
        raise ReadError(
            f"all {len(wanted)} images from {wanted[0].uri} to {wanted[-1].uri} are gone; is their storage mounted? "
            "The same command resumes the run, another --run lists the corpus again"
        )
    return {index: Verdict(reason, STALE[reason]) for index, reason in reasons.items() if reason}


def read_verdicts(root: Root, rows: Iterable["Row"], known: Iterable[str]) -> dict[int, Verdict]:
    """The verdicts on these rows; `known` are the names of the files below verdicts/, from one listing."""
    names = set(known)
    verdicts = {}
    for row in rows if names else ():
        key = _key(row)
        if f"{key}.json" in names:
            told = json.loads(root.read(paths.verdict_path(key)))
            verdicts[row.image_index] = Verdict(Reason(told["reason"]), told["detail"])
    return verdicts


def forget_stale(root: Root, listing: "Listing") -> list[str]:
    """Forget which files were stale where today's listing has them again, as they were; gives their uris."""
    known = dict(_stale_verdicts(root))
    there = {_key_of(*version) for version in listing.versions(known.values())} if known else set()
    for key in known.keys() & there:
        root.delete(paths.verdict_path(key))
    return sorted(known[key] for key in known.keys() & there)


def write_verdict(root: Root, row: "Row", verdict: Verdict) -> None:
    """Remember a verdict; deleting the file gives its image another chance."""
    told = {"uri": row.uri, "reason": verdict.reason, "detail": verdict.detail}
    root.put(paths.verdict_path(_key(row)), json.dumps(told, sort_keys=True).encode())


class _Check:
    """Asks a storage about one file."""

    def __init__(self, row: "Row", limit: Limit) -> None:
        self._row, self._limit = row, limit

    def __call__(self) -> Reason | None:
        try:
            with sources.naming(self._row.uri):
                return retried(self._ask, f"checking {self._row.uri}")
        finally:
            self._limit.restart()

    def _ask(self) -> Reason | None:
        self._limit.restart()
        return sources.staleness(self._row.uri, self._row.bytes, self._row.etag)


def _tried(alone: Sequence["Row"], limits: LimitsSpec, patience: Patience, decode: str) -> Verdict | None:
    """The verdict of one try of a row alone."""
    failure = first_failure(alone, limits, patience, decode)
    return Verdict(failure.reason, failure.detail) if failure and failure.reason else None


def _readable(rows: Iterable["Row"]) -> list["Row"]:
    return [row for row in rows if not row.removed and not row.refused]


def _stale_verdicts(root: Root) -> Iterator[tuple[str, str]]:
    """Key and uri of each file that was stale."""
    for name in root.files(paths.VERDICTS):
        key = name.removesuffix(".json")
        verdict = json.loads(root.read(paths.verdict_path(key)))
        if verdict["reason"] in STALE:
            yield key, verdict["uri"]


def _key(row: "Row") -> str:
    return _key_of(row.uri, row.bytes, row.etag)


def _key_of(uri: str, size_bytes: int, etag: str) -> str:
    return hashlib.sha256(json.dumps([uri, size_bytes, etag]).encode()).hexdigest()[:32]
