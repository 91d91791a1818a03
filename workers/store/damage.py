"""Damaged Parquet files. Takes the name of a file round what reads it, gives one error of one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from workers.errors import DamagedFile


@contextmanager
def named(name: str, way_out: str = "", *more: type[Exception]) -> Iterator[None]:
    """Turn the errors of readers of Parquet into DamagedFile.

    Args:
        name: the file.
        way_out: what to do about it.
        more: errors that mean the same, of other readers.

    Raises:
        DamagedFile: the file is not valid. pyarrow reports some damage as an OSError, but without errno, which the
            storage's own errors have.
    """
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError, OSError, *more) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedFile(f"{name} is damaged: {problem}{way_out and '; '}{way_out}") from error
