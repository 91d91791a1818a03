"""Corpora that are folders, of images or of Parquet files. Takes a folder, gives an entry for each image."""

from collections.abc import Iterator
from dataclasses import replace

from workers.host.hangs import Limit
from workers.sources.folder import FolderSource
from workers.sources.parquet import PARQUET
from workers.sources.source import Request, SourceEntry, Tally


class DatasetFolder(FolderSource):
    """A folder. If it holds no image but Parquet files, as a dataset of Hugging Face does, these are the corpus."""

    def entries(self, request: Request, limit: Limit, tally: Tally) -> Iterator[SourceEntry]:
        """An entry for each image; see `Source`."""
        return _images_or_tables(super().entries(request, limit, tally), request, limit, tally)


def _images_or_tables(
    images: Iterator[SourceEntry], request: Request, limit: Limit, tally: Tally
) -> Iterator[SourceEntry]:
    found = False
    for found, entry in ((True, entry) for entry in images):  # noqa: B007 - used after the loop
        yield entry
    if found:
        return
    for suffix in PARQUET.suffixes:
        if tally.counts.pop(suffix, 0):
            source = f"{request.source.rstrip('/')}/**/*{suffix}"
            yield from PARQUET.entries(replace(request, source=source), limit, tally)
