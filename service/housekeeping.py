"""What a root does not need any more. Takes a root and an age, says what can go and why, and removes it.

Runs of a schedule go beyond those that it keeps, whatever their age. Of the rest nothing younger than the age is touched, for
somebody may be writing it. Results of shards go when no published run was made of them. As long as a run is begun or live and
not published all of them stay: which ones it will reuse only its job knows.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow.compute as pc

from service.catalog import PublishedRun
from service.query.reading import read
from service.schedules import Schedules
from workers.errors import DamagedRun, QueryError, Reason, RunError
from workers.store import paths
from workers.store.attempts import Attempts
from workers.store.root import Root
from workers.store.schema import REJECTS

TEMPORARY = ".tmp"
JUDGED = [str(Reason.DECODER_CRASH), str(Reason.DECODER_HANG)]  # by a verdict that is kept


@dataclass(frozen=True)
class Removal:
    """A file that can go: its path under the root, its size in bytes, and why."""

    path: str
    bytes: int
    why: str


@dataclass(frozen=True)
class Verdict:
    """A file that crashed or hung its decoder, and is left out of every scan until it is tried again."""

    uri: str
    reason: str
    detail: str
    path: str


class Housekeeping:
    """What can go from a root.

    Args:
        root: the root.
        schedules: of it; they say how many of their runs are kept.
        now: the time.
        age: what is younger stays.
    """

    def __init__(self, root: Root, schedules: Schedules, now: datetime, age: timedelta) -> None:
        self._root, self._schedules = root, schedules
        self._before = now - age

    def plan(self) -> Sequence[Removal]:
        """What can go, in the order in which it has to: a run's manifest first, so that no reader sees half of it.

        Raises:
            DamagedRun: a manifest cannot be understood; nothing can be said about what it needs.
        """
        old = list(self._old_runs())
        found = [removal for run in old for removal in self._of_run(run)]
        if not self.unfinished():
            found += self._unneeded_results(without=old)
        return [*found, *self._strays()]

    def unfinished(self) -> Sequence[str]:
        """Runs that are begun, or submitted and not ended, and not published."""
        return [run for run in self._root.folders(paths.RUNS) if self._is_begun(run) and not self._is_published(run)]

    def remove(self, removals: Sequence[Removal]) -> None:
        """Remove what was planned."""
        for removal in removals:
            self._root.delete(removal.path)

    def _old_runs(self) -> Iterator[str]:
        """Published runs of schedules beyond those that they keep; the newest one always stays."""
        for schedule in self._schedules.all():
            if schedule.keep is not None:
                runs = [fire.run for fire in self._schedules.fires(schedule.name) if self._is_published(fire.run)]
                yield from runs[: -schedule.keep]

    def _of_run(self, run: str) -> Iterator[Removal]:
        why = f"run {run} is older than those its schedule keeps"
        manifest = paths.manifest_path(run)
        yield from self._files(paths.run_folder(run), why, only=manifest.rpartition("/")[2])
        for table in self._root.folders(paths.TABLES):
            yield from self._files(paths.table_folder(table, run), why)
        yield from self._files(paths.attempts_folder(run), why)
        for removal in self._files(paths.run_folder(run), why):
            if removal.path != manifest:
                yield removal

    def _unneeded_results(self, without: Sequence[str]) -> Iterator[Removal]:
        needed = {path for run in self._root.folders(paths.RUNS) if run not in without for path in self._needed(run)}
        for configuration in self._root.folders(paths.SHARDS):
            for removal in self._files(paths.shard_folder(configuration), "no published run was made of it"):
                if removal.path not in needed and self._is_old(removal.path):
                    yield removal

    def _needed(self, run: str) -> Iterator[str]:
        if self._is_published(run):
            try:
                told = json.loads(self._root.read(paths.manifest_path(run)))
                yield from (*told.get("shards", ()), *told.get("groups", ()))
            except ValueError as error:
                raise DamagedRun(f"run {run!r}: its manifest.json cannot be understood: {error}") from error

    def _strays(self) -> Iterator[Removal]:
        """Files that a killed writer left, tables of runs that nobody has begun, and idempotency keys that nobody sends again."""
        yield from self._aged(self._files(paths.IDEMPOTENCY, "it is remembered for so long and no longer"))
        folders = [folder for top in paths.TOPS for folder in self._below(top)]
        known = set(self._root.folders(paths.RUNS))
        for table in self._root.folders(paths.TABLES):
            for folder in self._root.folders(f"{paths.TABLES}/{table}"):
                here = f"{paths.TABLES}/{table}/{folder}"
                if folder.removeprefix("run=") not in known:
                    yield from self._aged(self._files(here, "nobody has begun its run"))
        for folder in folders:
            for removal in self._aged(self._files(folder, "a killed writer left it")):
                if removal.path.endswith(TEMPORARY):
                    yield removal

    def _below(self, folder: str) -> Iterator[str]:
        """A folder, and all that are in it."""
        yield folder
        for each in self._root.folders(folder):
            yield from self._below(f"{folder}/{each}")

    def _is_begun(self, run: str) -> bool:
        attempts = Attempts(self._root, run)
        numbers = attempts.numbers()
        return self._root.exists(paths.spec_path(run)) or (bool(numbers) and attempts.ended(numbers[-1]) is None)

    def _aged(self, removals: Iterator[Removal]) -> Iterator[Removal]:
        return (removal for removal in removals if self._is_old(removal.path))

    def _files(self, folder: str, why: str, only: str | None = None) -> Iterator[Removal]:
        for name, size in self._root.files(folder).items():
            if only in (None, name):
                yield Removal(f"{folder}/{name}", size, why)

    def _is_old(self, path: str) -> bool:
        with suppress(FileNotFoundError):
            return self._root.modified(path) < self._before
        return False

    def _is_published(self, run: str) -> bool:
        return self._root.exists(paths.manifest_path(run))


def verdicts(root: Root) -> Sequence[Verdict]:
    """The files that crashed or hung their decoders."""
    found = []
    for name in sorted(root.files(paths.VERDICTS)):
        path = f"{paths.VERDICTS}/{name}"
        told = json.loads(root.read(path))
        found.append(Verdict(told["uri"], told["reason"], told["detail"], path))
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
