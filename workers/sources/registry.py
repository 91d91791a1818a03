"""All sources of images. Takes a corpus or a uri, gives the source or the access that knows it."""

from workers.sources.folder import Folder
from workers.sources.glob import Glob
from workers.sources.source import Access, Source

SOURCES: tuple[Source, ...] = (  # the first that accepts a corpus, or reads a uri, has it; the last takes all others
    Glob(),
    Folder(),
)


def source_of(corpus: str) -> Source:
    """The source that a corpus is written for."""
    return next(source for source in SOURCES if source.accepts(corpus))


def access_of(uri: str) -> Access:
    """What reads the image of a manifest row."""
    return next(source.access for source in SOURCES if source.access.reads(uri))
