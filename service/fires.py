"""Fires of schedules, as files of the root. Takes names of schedules and times, gives what has become of each."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from service.timetable import Fire
from workers.errors import DamagedFile
from workers.store import paths
from workers.store.root import Root

STAMP = "%Y%m%dt%H%M%Sz"  # of a time, UTC, in names; it sorts
ENDING = ".json"


class Fires:
    """The fires of a root's schedules, each a file named by its time.

    Args:
        root: where they lie.
    """

    def __init__(self, root: Root) -> None:
        self._root = root

    def stamps(self, name: str) -> Sequence[str]:
        """The times of a schedule's fires as they are written in names, ascending."""
        files = self._root.files(paths.fires_folder(name))
        return sorted(each.removesuffix(ENDING) for each in files if each.endswith(ENDING))

    def read(self, name: str, stamp: str) -> Fire | None:
        """A fire of a schedule; None if there is none at that time.

        Raises:
            DamagedFile: its file cannot be understood.
        """
        path = paths.fire_path(name, stamp)
        try:
            fire = Fire(**json.loads(self._root.read(path)))
            datetime.fromisoformat(fire.at)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise DamagedFile(f"{path} cannot be understood: {error}; remove it") from error
        return fire

    def create(self, name: str, fire: Fire) -> bool:
        """Write a fire down if nobody has; of any number of writers one gets True."""
        return self._root.create(_path(name, fire), _encoded(fire))

    def put(self, name: str, fire: Fire) -> Fire:
        """Write down what has become of a fire."""
        self._root.put(_path(name, fire), _encoded(fire))
        return fire


def run_of(name: str, at: datetime) -> str:
    """The run id of a schedule's fire."""
    return f"{name}-{stamp_of(at)}"


def stamp_of(at: datetime) -> str:
    """A time as it is written in names."""
    return f"{at:{STAMP}}"


def _path(name: str, fire: Fire) -> str:
    return paths.fire_path(name, stamp_of(datetime.fromisoformat(fire.at)))


def _encoded(fire: Fire) -> bytes:
    return json.dumps(asdict(fire), indent=1).encode()
