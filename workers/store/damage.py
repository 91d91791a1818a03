"""Errors of damaged Parquet files. Takes a file's name and the block that reads it, gives one error of one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from workers.errors import DamagedFile


@contextmanager
def translate(name: str, way_out: str = "", *more: type[Exception]) -> Iterator[None]:
    """Translate the errors of Parquet readers into DamagedFile.

    Args:
        name: name of the file.
        way_out: how to fix it.
        more: errors of other readers that mean the same.

    Raises:
        DamagedFile: the file is not valid. pyarrow reports some damage as an OSError without errno; storage errors have an
            errno and are not translated.
    """
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError, OSError, *more) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedFile(f"{name} is damaged: {problem}{way_out and '; '}{way_out}") from error
