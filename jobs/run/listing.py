"""The listing with which a run begins. Takes a corpus, gives its content; reports what is passed over and what is back."""

from collections.abc import Iterator
from contextlib import contextmanager

from jobs.watch import Watcher
from workers.corpus import isolate, manifest
from workers.corpus.manifest import Listing
from workers.sources.source import describe
from workers.spec.parts import CorpusSpec
from workers.store.root import Root


@contextmanager
def list_corpus(corpus: CorpusSpec, watch: Watcher) -> Iterator[Listing]:
    """The current content of a corpus; see `manifest.list_corpus`."""
    watch.phase("listing", None, "images")
    with manifest.list_corpus(corpus, watch.advance) as listing:
        if listing.passed_over:
            watch.say(f"passed over in the corpus: {describe(listing.passed_over)}")
        yield listing


def check_root(root: Root, listing: Listing, watch: Watcher) -> None:
    """Check that the root can be written, and delete verdicts on stale files that are back."""
    root.check_writable()
    for uri in isolate.forget_stale(root, listing):
        watch.say(f"{uri} is back; it is scanned again")
