"""Files that a root no longer needs. Takes a root and an age, gives the files to remove with reasons, and removes them.

Runs of a schedule that exceed the number to keep are removed at any age, except the root's default scan. Otherwise nothing
younger than the age is removed, because someone may be writing it. Results of shards are removed if no published run uses them.
While any run is unfinished, or has a damaged manifest, all results stay, because nobody knows which of them it needs.
On request, results of published runs are removed too, since the tables hold what they say. Those of the newest run of each
schedule stay even then: its next run reuses them.

The fire of a run is marked before the run is removed. So no scheduler fires it again, and the next call resumes an interrupted
removal.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

from service.control.schedules import Schedules
from service.query import default_scan
from workers.errors import DamagedRun, RunError, nearest
from workers.store import documents, labels, paths
from workers.store.attempts import Attempts
from workers.store.manifest import Manifest
from workers.store.root import Root
from workers.store.tables.shared import RUNS

TEMPORARY = ".tmp"
SILENCE = timedelta(hours=1)  # required before a run is removed: a live job writes every ten seconds
KEPT_FIRES = 100  # per schedule, as its history


@dataclass(frozen=True)
class Removal:
    """A file to remove: its path under the root, size in bytes, reason, and the run that is removed with it, if any."""

    path: str
    bytes: int
    why: str
    run: str = ""


class Housekeeping:
    """Finds and removes the files that a root no longer needs.

    Args:
        root: the root.
        schedules: the root's schedules; each has the number of runs to keep.
        now: the current time.
        age: younger files stay.
        forget: unpublished runs that will not be resumed.
        drop_results: remove the shard results of published runs too.
    """

    def __init__(
        self,
        root: Root,
        schedules: Schedules,
        now: datetime,
        age: timedelta,
        forget: Sequence[str] = (),
        *,
        drop_results: bool = False,
    ) -> None:
        self._root, self._schedules = root, schedules
        self._silent_for = max(age, SILENCE)
        self._before, self._silent = now - age, now - self._silent_for
        self._forget, self._drop_results = forget, drop_results

    def plan(self) -> Sequence[Removal]:
        """The files to remove, in the order in which they have to be removed.

        Raises:
            RunError: a run to forget is published, unknown, or may be live.
            DamagedFile: the root's default cannot be read.
        """
        removals = [removal for run, why in self._removed_runs.items() for removal in self._of_run(run, why)]
        if not self.unfinished() and not self.damaged:
            removals += self._unneeded_results(without=self._removed_runs)
        return [*removals, *self._old_fires(), *self._strays()]

    def unfinished(self) -> Sequence[str]:
        """Unpublished runs that have begun or are live, without those that will be removed."""
        begun = (run for run in self._known if self._is_begun(run) and not self._is_published(run))
        return [run for run in begun if run not in self._removed_runs]

    def remove(self, removals: Sequence[Removal]) -> None:
        """Remove planned files."""
        for run in {removal.run for removal in removals if removal.run}:
            self._schedules.mark_removed(run)
            self._hide(run)
        for removal in removals:
            self._root.delete(removal.path)

    def _hide(self, run: str) -> None:
        """Remove what makes a run visible to readers, even if the plan's listing was stale and lacks it."""
        folder = paths.table_folder(RUNS.name, run)
        rows = [f"{folder}/{name}" for name in self._root.files(folder)]
        for path in (*rows, paths.claim_path(run), paths.manifest_path(run), paths.labels_path(run)):
            self._root.delete(path)

    def removal_of(self, run: str) -> Sequence[Removal]:
        """The files of one run, published or not, in the order in which they have to be removed.

        Raises:
            RunError: there is no such run, it may be live, or it is the root's default.
            DamagedFile: the root's default cannot be read.
        """
        if run not in self._known:
            raise RunError(f"there is no run {run!r} in {self._root.url!r}; {nearest(run, self._known)}")
        if run == self._default:
            raise RunError(f"run {run!r} is the default of the root; first {default_scan.WAY_OUT}")
        if self._is_live(run) if Attempts(self._root, run).numbers() else not self._is_published(run):
            self._check_silent(run)
        return list(self._of_run(run, "its removal was requested"))

    @cached_property
    def damaged(self) -> Mapping[str, str]:
        """Published runs whose manifests cannot be read, and why; the results that they need are unknown."""
        return self._readable[1]

    @cached_property
    def _readable(self) -> tuple[Mapping[str, Manifest], Mapping[str, str]]:
        """The manifests of the published runs, and why the others cannot be read."""
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
    def _default(self) -> str | None:
        """The root's default scan, which is kept."""
        return default_scan.read(self._root)

    @cached_property
    def _known(self) -> Sequence[str]:
        """Runs that have a file; in a local root, removed runs leave empty folders."""
        own = (paths.run_folder, paths.attempts_folder)
        return [run for run in self._root.folders(paths.RUNS) if any(self._root.files(folder(run)) for folder in own)]

    @cached_property
    def _removed_runs(self) -> Mapping[str, str]:
        """The runs to remove, and why: they are to be forgotten, exceed their schedule's number, or are partly removed."""
        for run in self._forget:
            self._check_forgotten(run)
        removed = dict.fromkeys(self._forget, "it was named by --forget")
        for schedule in self._schedules.all():
            if schedule.keep is not None:
                runs = [run for run in self._schedules.runs(schedule) if self._is_published(run)]
                why = f"schedule {schedule.name} keeps only its {schedule.keep} newest runs"
                removed |= dict.fromkeys((run for run in runs[: -schedule.keep] if run != self._default), why)
        partly_removed = [run for run in self._known if not self._is_published(run) and self._schedules.is_removed(run)]
        return removed | dict.fromkeys(
            (run for run in partly_removed if not self._is_live(run)), "its removal was interrupted"
        )

    def _check_forgotten(self, run: str) -> None:
        unpublished = [known for known in self._known if not self._is_published(known)]
        if run not in unpublished:
            if run in self._known:
                raise RunError(f"run {run!r} is published; remove it with `deconvoy rm {run} --root ROOT`")
            raise RunError(f"there is no unpublished run {run!r}; {nearest(run, unpublished)}")
        self._check_silent(run)

    def _check_silent(self, run: str) -> None:
        for removal in (*self._files(paths.run_folder(run), ""), *self._files(paths.attempts_folder(run), "")):
            if self._root.modified(removal.path) > self._silent:
                raise RunError(
                    f"run {run!r} may be live: {removal.path} is younger than {_shown(self._silent_for)}; cancel the run, or wait"
                )

    def _of_run(self, run: str, why: str) -> Iterator[Removal]:
        """The files of a run, in order. First its row in `runs`, by which readers of whole folders find it, then its manifest.

        The spec is last, so that the run is known as long as any of its files is left.
        """
        decisive, spec = (paths.claim_path(run), paths.manifest_path(run), paths.labels_path(run)), paths.spec_path(run)
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
        """Fires older than the last ones of their schedules, whose runs have no files left."""
        schedules, damaged = self._schedules.readable()
        needed = {
            *self._known,
            *(run for schedule in schedules for run in self._schedules.needed(schedule, KEPT_FIRES)),
        }
        for name in set(self._root.folders(paths.SCHEDULES)) - set(damaged):
            for removal in self._files(
                paths.fires_folder(name), f"it is older than the last {KEPT_FIRES} firings of {name}"
            ):
                stamp, ending, _ = removal.path.rpartition("/")[2].partition(".json")
                if ending and f"{name}-{stamp}" not in needed and self._is_old(removal.path):
                    yield removal

    def _unneeded_results(self, without: Container[str]) -> Iterator[Removal]:
        manifests, _ = self._readable
        published = {run: manifest.results for run, manifest in manifests.items() if run not in without}
        used = {path for results in published.values() for path in results}
        reused = {path for run in self._latest_of_schedules(published) for path in published[run]}
        is_known = not self._schedules.readable()[1]  # an unreadable schedule may have runs whose results are reused
        needed = reused if self._drop_results and is_known else used
        for configuration in self._root.folders(paths.SHARDS):
            for removal in self._files(paths.shard_folder(configuration), "no published run uses it"):
                if removal.path not in needed and self._is_old(removal.path):
                    is_used = removal.path in used
                    yield replace(removal, why="its runs are published") if is_used else removal

    def _latest_of_schedules(self, published: Container[str]) -> Iterator[str]:
        """The newest published run of each schedule."""
        for schedule in self._schedules.all():
            runs = [run for run in self._schedules.runs(schedule) if run in published]
            yield from runs[-1:]

    def _strays(self) -> Iterator[Removal]:
        """Files of killed writers, tables of runs that never began, and old idempotency keys."""
        yield from self._aged(self._files(paths.IDEMPOTENCY, "the idempotency key has expired"))
        folders, known = [folder for top in paths.TOPS for folder in self._below(top)], set(self._known)
        for table in self._root.folders(paths.TABLES):
            for folder in self._root.folders(f"{paths.TABLES}/{table}"):
                path = f"{paths.TABLES}/{table}/{folder}"
                if folder.removeprefix("run=") not in known:
                    yield from self._aged(self._files(path, "its run never started"))
        yield from self._unpublished()
        for folder in folders:
            for removal in self._aged(self._files(folder, "it is a temporary file of a killed writer")):
                if removal.path.endswith(TEMPORARY):
                    yield removal

    def _unpublished(self) -> Iterator[Removal]:
        """Files of tables that no manifest names: staged by killed publishers, or beside the files of a published run."""
        for run in self._root.folders(paths.RUNS):
            if self._is_published(run) or not self._root.exists(paths.claim_path(run)):
                yield from self._aged(self._staged(run, "it was never published"))
        for manifest in self._readable[0].values():
            unnamed = labels.unnamed_files(self._root, manifest)
            yield from self._aged(Removal(path, size, "its run's manifest does not name it") for path, size in unnamed)

    def _staged(self, run: str, why: str) -> Iterator[Removal]:
        for table in self._root.folders(paths.staged_folder(run)):
            yield from self._files(f"{paths.staged_folder(run)}/{table}", why)

    def _below(self, folder: str) -> Iterator[str]:
        """A folder and all folders below it."""
        yield folder
        for name in self._root.folders(folder):
            yield from self._below(f"{folder}/{name}")

    def _is_begun(self, run: str) -> bool:
        return self._root.exists(paths.spec_path(run)) or self._is_live(run)

    def _is_live(self, run: str) -> bool:
        """Whether its last attempt has no recorded end."""
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


def _shown(age: timedelta) -> str:
    """An age in days, or in hours if it is shorter than a day."""
    days = age >= timedelta(days=1)
    count = round(age / timedelta(days=1 if days else 1 / 24), 1)
    return f"{count:g} {'day' if days else 'hour'}{'' if count == 1 else 's'}"
