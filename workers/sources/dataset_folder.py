"""Corpora that are folders, of images, Parquet files or videos. Takes a folder, gives an entry for each image."""

from collections.abc import Iterator

from workers.host.hangs import Limit
from workers.sources.containers import images_or_files
from workers.sources.folder import FolderSource
from workers.sources.parquet import PARQUET
from workers.sources.source import Request, SourceEntry, Tally
from workers.sources.video import VIDEO


class DatasetFolder(FolderSource):
    """A folder. If it holds no image, its Parquet files, as in a dataset of Hugging Face, and its videos are the corpus."""

    def entries(self, request: Request, limit: Limit, tally: Tally) -> Iterator[SourceEntry]:
        """An entry for each image; see `Source`."""
        return images_or_files(super().entries(request, limit, tally), (PARQUET, VIDEO), request, limit, tally)
