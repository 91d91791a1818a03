"""Corpora that are folders, of images or of Parquet files. Takes a folder, gives an entry for each image."""

from collections.abc import Iterator

from workers.host.hangs import Limit
from workers.sources.folder import FolderSource
from workers.sources.parquet import PARQUET
from workers.sources.source import Request, SourceEntry, Tally


class DatasetFolder(FolderSource):
    """A folder. If it holds no image but Parquet files, as a dataset of Hugging Face does, these are the corpus."""

    def entries(self, request: Request, limit: Limit, tally: Tally) -> Iterator[SourceEntry]:
        """An entry for each image; see `Source`."""
        return PARQUET.in_folder(request, limit, tally)
