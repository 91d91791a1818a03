"""The registry of image sources. Takes a corpus or a uri, gives its source or access."""

from workers.sources.dataset_folder import DatasetFolder
from workers.sources.glob import GlobSource
from workers.sources.lists import LISTS
from workers.sources.parquet import PARQUET
from workers.sources.source import Access, Source
from workers.sources.tar import TAR
from workers.sources.video import VIDEO
from workers.sources.zip import ZIP

SOURCES: tuple[Source, ...] = (  # the first source that accepts a corpus or reads a uri is used; the last accepts all
    TAR,
    ZIP,
    PARQUET,
    VIDEO,
    *LISTS,
    GlobSource(),
    DatasetFolder(),
)


def source_of(corpus: str) -> Source:
    """The source of a corpus."""
    return next(source for source in SOURCES if source.accepts(corpus))


def access_of(uri: str) -> Access:
    """The access that reads an image, by the uri in its manifest row."""
    return next(source.access for source in SOURCES if source.access.reads(uri))
