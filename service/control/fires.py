"""Fires of schedules, as files of the root. Takes schedules and run ids, gives the fires and their outcomes.

The scheduler that creates the file of a fire decides about it: its run is refused, or any scheduler may submit it. Later changes
to the file only record that this was done, so that nobody does it again after the run's own files are gone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from service.control.timetable import Fire, Schedule
from workers.errors import DamagedFile
from workers.store import paths
from workers.store.json_format import JsonFormat
from workers.store.root import Root

STAMP = "%Y%m%dt%H%M%Sz"  # a time in names, UTC; names sort by time
ENDING = ".json"
_FORMAT = JsonFormat(Fire, sort_keys=False)


class Fires:
    """The fires of a root's schedules, each a file named by its time.

    Args:
        root: the root.
    """

    def __init__(self, root: Root) -> None:
        self._root = root

    def runs(self, schedule: Schedule) -> Sequence[str]:
        """The run ids of a schedule's fires, the oldest first; without those of an earlier schedule of the same name."""
        name = schedule.name
        files = self._root.files(paths.fires_folder(name))
        runs = sorted(f"{name}-{file.removesuffix(ENDING)}" for file in files if file.endswith(ENDING))
        first = run_of(name, datetime.fromisoformat(schedule.made)) if schedule.made else ""
        return [run for run in runs if run >= first]

    def of(self, run: str) -> Fire | None:
        """The fire of a run; None if no schedule fired it.

        Raises:
            DamagedFile: its file cannot be parsed.
        """
        path = _path(run)
        try:
            fire = _FORMAT.decode(self._root.read(path))
            datetime.fromisoformat(fire.at)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise DamagedFile(f"{path} cannot be parsed: {error}; remove it") from error
        return replace(fire, run=run)

    def backwards(self, schedule: Schedule) -> Iterator[Fire]:
        """The fires of a schedule, the latest first; each is read only when it is needed.

        Raises:
            DamagedFile: the file of a fire cannot be parsed.
        """
        fires = (self.of(run) for run in reversed(self.runs(schedule)))
        return (fire for fire in fires if fire is not None)

    def record(self, fire: Fire) -> Fire:
        """Record a fire unless it is recorded already; gives the recorded one."""
        return fire if self._root.create(_path(fire.run), _FORMAT.encode(fire)) else self.of(fire.run) or fire

    def update(self, fire: Fire) -> Fire:
        """Record the outcome of a fire."""
        self._root.put(_path(fire.run), _FORMAT.encode(fire))
        return fire


def run_of(name: str, at: datetime) -> str:
    """The run id of a schedule's fire; the ids of one schedule sort by time."""
    return f"{name}-{at:{STAMP}}"


def _path(run: str) -> str:
    name, _, stamp = run.rpartition("-")
    return paths.fire_path(name, stamp)
