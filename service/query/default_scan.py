"""The default scan of a root. Takes a root, gives the run that commands use if none is named.

It is stored in `defaults/scan.json`. Without this file, the default is the newest scan.
"""

from pydantic.dataclasses import dataclass

from workers.errors import DamagedFile
from workers.store import paths
from workers.store.json_format import JsonFormat
from workers.store.root import Root


@dataclass(frozen=True)
class DefaultScan:
    """The content of the file: the run id."""

    run: str


FORMAT = JsonFormat(DefaultScan)
WAY_OUT = "set another with `deconvoy default RUN`, or use the newest scan with `deconvoy default --clear`"


def read(root: Root) -> str | None:
    """The run id; None if no default is set.

    Raises:
        DamagedFile: the file cannot be parsed.
    """
    try:
        return FORMAT.decode(root.read(paths.DEFAULT_SCAN)).run
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        way_out = "set it again with `deconvoy default RUN --root ROOT`"
        raise DamagedFile(f"{root.path(paths.DEFAULT_SCAN)} cannot be parsed: {error}; {way_out}") from error
