"""What a root does not need any more. Takes a root and an age, says what can go and why, and removes it.

Runs of a schedule go beyond those that it keeps, whatever their age. Of the rest nothing younger than the age is touched, for
somebody may be writing it. Results of shards go when no published run was made of them. As long as a run is begun or live and
not published, or its manifest is damaged, all of them stay: which ones it needs is not known.

A run that goes is marked in its fire first, so that nobody fires it again, and a removal that was killed is gone on with.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

from service.control.schedules import Schedules
from workers.errors import DamagedRun, RunError, nearest
from workers.store import documents, paths
from workers.store.attempts import Attempts
from workers.store.manifest import Manifest
from workers.store.root import Root
from workers.store.tables.shared import RUNS

TEMPORARY = ".tmp"
SILENCE = timedelta(hours=1)  # after which a run is forgotten that is to be: a job that lives writes every ten seconds
KEPT_FIRES = 100  # of a schedule, as its history


@dataclass(frozen=True)
class Removal:
    """A file that can go: its path under the root, its size in bytes, why, and the run that goes as a whole, if one does."""

    path: str
    bytes: int
    why: str
    run: str = ""


class Housekeeping:
    """What can go from a root.

    Args:
        root: the root.
        schedules: of it; they say how many of their runs are kept.
        now: the time.
        age: what is younger stays.
        forget: runs that are begun and not published, and that nobody will go on with.
    """

    def __init__(
        self, root: Root, schedules: Schedules, now: datetime, age: timedelta, forget: Sequence[str] = ()
    ) -> None:
        self._root, self._schedules = root, schedules
        self._silent_for = max(age, SILENCE)
        self._before, self._silent = now - age, now - self._silent_for
        self._forget = forget

    def plan(self) -> Sequence[Removal]:
        """What can go, in the order in which it has to.

        Raises:
            RunError: a run that is to be forgotten is published, unknown, or may be live.
        """
        found = [removal for run, why in self._going.items() for removal in self._of_run(run, why)]
        if not self.unfinished() and not self.damaged:
            found += self._unneeded_results(without=self._going)
        return [*found, *self._old_fires(), *self._strays()]

    def unfinished(self) -> Sequence[str]:
        """Runs that are begun, or submitted and not ended, and not published; none that is being removed."""
        begun = (run for run in self._known if self._is_begun(run) and not self._is_published(run))
        return [run for run in begun if run not in self._going]

    def remove(self, removals: Sequence[Removal]) -> None:
        """Remove what was planned."""
        for run in {removal.run for removal in removals if removal.run}:
            self._schedules.mark_removed(run)
        for removal in removals:
            self._root.delete(removal.path)

    def removal_of(self, run: str) -> Sequence[Removal]:
        """The files of one run, published or not, in the order in which they have to go.

        Raises:
            RunError: there is no such run, or it may be live.
        """
        if run not in self._known:
            raise RunError(f"there is no run {run!r} in {self._root.url!r}; {nearest(run, self._known)}")
        if self._is_live(run) if Attempts(self._root, run).numbers() else not self._is_published(run):
            self._check_silent(run)
        return list(self._of_run(run, "it was to be removed"))

    @cached_property
    def damaged(self) -> Mapping[str, str]:
        """Published runs whose manifests cannot be read, and why: what they need is not known."""
        return self._readable[1]

    @cached_property
    def _readable(self) -> tuple[Mapping[str, Manifest], Mapping[str, str]]:
        """The manifests of the published runs, and what is wrong with those that cannot be read."""
        manifests, damaged = {}, {}
        for run in self._root.folders(paths.RUNS):
            try:
                manifest = documents.read_manifest(self._root, run)
            except DamagedRun as error:
                damaged[run] = str(error)
                continue
            if manifest is not None:
                manifests[run] = manifest
        return manifests, damaged

    @cached_property
    def _known(self) -> Sequence[str]:
        """Runs of which there is a file: locally the folders of removed ones stay."""
        own = (paths.run_folder, paths.attempts_folder)
        return [run for run in self._root.folders(paths.RUNS) if any(self._root.files(folder(run)) for folder in own)]

    @cached_property
    def _going(self) -> Mapping[str, str]:
        """Runs that go as a whole, and why: forgotten, beyond those that their schedules keep, or removed by half."""
        for run in self._forget:
            self._check_forgotten(run)
        going = dict.fromkeys(self._forget, "it is to be forgotten")
        for schedule in self._schedules.all():
            if schedule.keep is not None:
                runs = [run for run in self._schedules.runs(schedule) if self._is_published(run)]
                why = f"schedule {schedule.name} keeps {schedule.keep} and has newer ones"
                going |= dict.fromkeys(runs[: -schedule.keep], why)
        halves = [run for run in self._known if not self._is_published(run) and self._schedules.is_removed(run)]
        return going | dict.fromkeys((run for run in halves if not self._is_live(run)), "its removal was not finished")

    def _check_forgotten(self, run: str) -> None:
        begun = [each for each in self._known if not self._is_published(each)]
        if run not in begun:
            raise RunError(f"run {run!r} is not one that is begun and not published; {nearest(run, begun)}")
        self._check_silent(run)

    def _check_silent(self, run: str) -> None:
        for removal in (*self._files(paths.run_folder(run), ""), *self._files(paths.attempts_folder(run), "")):
            if self._root.modified(removal.path) > self._silent:
                raise RunError(
                    f"run {run!r} may be live: {removal.path} is younger than {self._silent_for}; cancel it, or wait"
                )

    def _of_run(self, run: str, why: str) -> Iterator[Removal]:
        """The files of a run. Its row in `runs`, by which readers of whole folders know it, goes first, then its manifest.

        What says that it was begun goes last, so that it is known as long as anything of it is left.
        """
        decisive, spec = (paths.claim_path(run), paths.manifest_path(run)), paths.spec_path(run)
        others = [table for table in self._root.folders(paths.TABLES) if table != RUNS.name]
        own = {removal.path: removal for removal in self._files(paths.run_folder(run), why)}
        ordered = [
            *self._files(paths.table_folder(RUNS.name, run), why),
            *(own.pop(path) for path in decisive if path in own),
            *(removal for table in others for removal in self._files(paths.table_folder(table, run), why)),
            *self._staged(run, why),
            *self._files(paths.attempts_folder(run), why),
            *sorted(own.values(), key=lambda removal: removal.path == spec),
        ]
        yield from (replace(removal, run=run) for removal in ordered)

    def _old_fires(self) -> Iterator[Removal]:
        """Fires beyond the last ones of their schedules, of whose runs nothing is left."""
        schedules, damaged = self._schedules.readable()
        needed = {*self._known, *(run for each in schedules for run in self._schedules.needed(each, KEPT_FIRES))}
        for name in set(self._root.folders(paths.SCHEDULES)) - set(damaged):
            for removal in self._files(paths.fires_folder(name), f"it is none of the last {KEPT_FIRES} of {name}"):
                stamp, ending, _ = removal.path.rpartition("/")[2].partition(".json")
                if ending and f"{name}-{stamp}" not in needed and self._is_old(removal.path):
                    yield removal

    def _unneeded_results(self, without: Container[str]) -> Iterator[Removal]:
        manifests, _ = self._readable
        needed = {path for run, manifest in manifests.items() if run not in without for path in manifest.results}
        for configuration in self._root.folders(paths.SHARDS):
            for removal in self._files(paths.shard_folder(configuration), "no published run was made of it"):
                if removal.path not in needed and self._is_old(removal.path):
                    yield removal

    def _strays(self) -> Iterator[Removal]:
        """Files that a killed writer left, tables of runs that nobody has begun, and idempotency keys that nobody sends again."""
        yield from self._aged(self._files(paths.IDEMPOTENCY, "it is remembered for so long and no longer"))
        folders, known = [folder for top in paths.TOPS for folder in self._below(top)], set(self._known)
        for table in self._root.folders(paths.TABLES):
            for folder in self._root.folders(f"{paths.TABLES}/{table}"):
                here = f"{paths.TABLES}/{table}/{folder}"
                if folder.removeprefix("run=") not in known:
                    yield from self._aged(self._files(here, "nobody has begun its run"))
        yield from self._unpublished()
        for folder in folders:
            for removal in self._aged(self._files(folder, "a killed writer left it")):
                if removal.path.endswith(TEMPORARY):
                    yield removal

    def _unpublished(self) -> Iterator[Removal]:
        """Files of tables that no manifest names: staged ones of killed publishers, and parts beside those of published runs."""
        for run in self._root.folders(paths.RUNS):
            if self._is_published(run) or not self._root.exists(paths.claim_path(run)):
                yield from self._aged(self._staged(run, "it was never published"))
        for run, manifest in self._readable[0].items():
            named = {part.path for part in manifest.parts}
            for table in set(self._root.folders(paths.TABLES)) - {RUNS.name}:
                folder = paths.table_folder(table, run)
                beside = (each for each in self._files(folder, "its run does not name it") if each.path not in named)
                yield from self._aged(beside)

    def _staged(self, run: str, why: str) -> Iterator[Removal]:
        for table in self._root.folders(paths.staged_folder(run)):
            yield from self._files(f"{paths.staged_folder(run)}/{table}", why)

    def _below(self, folder: str) -> Iterator[str]:
        """A folder, and all that are in it."""
        yield folder
        for each in self._root.folders(folder):
            yield from self._below(f"{folder}/{each}")

    def _is_begun(self, run: str) -> bool:
        return self._root.exists(paths.spec_path(run)) or self._is_live(run)

    def _is_live(self, run: str) -> bool:
        """Whether its last attempt has not said that it ended."""
        attempts = Attempts(self._root, run)
        numbers = attempts.numbers()
        return bool(numbers) and attempts.ended(numbers[-1]) is None

    def _aged(self, removals: Iterator[Removal]) -> Iterator[Removal]:
        return (removal for removal in removals if self._is_old(removal.path))

    def _files(self, folder: str, why: str) -> Iterator[Removal]:
        for name, size in sorted(self._root.files(folder).items()):
            yield Removal(f"{folder}/{name}", size, why)

    def _is_old(self, path: str) -> bool:
        with suppress(FileNotFoundError):
            return self._root.modified(path) < self._before
        return False

    def _is_published(self, run: str) -> bool:
        return self._root.exists(paths.manifest_path(run))
