"""Fires of schedules, as files of the root. Takes names of schedules and of their runs, gives what has become of each fire.

Who is first to create the file of a fire has decided about it: its run is refused, or to be submitted by whoever comes. What is
written into it later says only that this was done, so that nobody does it again when the run's own files are gone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from service.control.timetable import Fire, Schedule
from workers.errors import DamagedFile
from workers.store import paths
from workers.store.json_format import JsonFormat
from workers.store.root import Root

STAMP = "%Y%m%dt%H%M%Sz"  # of a time, UTC, in names; it sorts
ENDING = ".json"
_FORMAT = JsonFormat(Fire, sort_keys=False)


class Fires:
    """The fires of a root's schedules, each a file named by its time.

    Args:
        root: where they lie.
    """

    def __init__(self, root: Root) -> None:
        self._root = root

    def runs(self, schedule: Schedule) -> Sequence[str]:
        """The runs that the fires of a schedule name, the first one first; none of one that had its name before it."""
        name = schedule.name
        files = self._root.files(paths.fires_folder(name))
        runs = sorted(f"{name}-{each.removesuffix(ENDING)}" for each in files if each.endswith(ENDING))
        first = run_of(name, datetime.fromisoformat(schedule.made)) if schedule.made else ""
        return [run for run in runs if run >= first]

    def of(self, run: str) -> Fire | None:
        """The fire that names a run; None if there is none.

        Raises:
            DamagedFile: its file cannot be understood.
        """
        path = _path(run)
        try:
            fire = _FORMAT.decode(self._root.read(path))
            datetime.fromisoformat(fire.at)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise DamagedFile(f"{path} cannot be understood: {error}; remove it") from error
        return replace(fire, run=run)

    def backwards(self, schedule: Schedule) -> Iterator[Fire]:
        """The fires of a schedule, the last one first; each is read when it is asked for.

        Raises:
            DamagedFile: the file of one cannot be understood.
        """
        found = (self.of(run) for run in reversed(self.runs(schedule)))
        return (fire for fire in found if fire is not None)

    def first(self, fire: Fire) -> Fire:
        """Write a fire down, unless somebody has; gives the one that stands."""
        return fire if self._root.create(_path(fire.run), _FORMAT.encode(fire)) else self.of(fire.run) or fire

    def put(self, fire: Fire) -> Fire:
        """Write down what has become of a fire."""
        self._root.put(_path(fire.run), _FORMAT.encode(fire))
        return fire


def run_of(name: str, at: datetime) -> str:
    """The run of a schedule's fire; those of one schedule sort by their times."""
    return f"{name}-{at:{STAMP}}"


def _path(run: str) -> str:
    name, _, stamp = run.rpartition("-")
    return paths.fire_path(name, stamp)
