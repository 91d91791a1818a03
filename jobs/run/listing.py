"""The listing with which a run begins. Takes a corpus, gives its content; reports what is skipped and what is back."""

from collections.abc import Iterator
from contextlib import contextmanager

from jobs.watch import Watcher
from workers.corpus import isolate, manifest
from workers.corpus.coverage import coverage, has_label
from workers.corpus.labels import read_names
from workers.corpus.manifest import Listing
from workers.errors import SpecError
from workers.sources.source import describe
from workers.spec.parts import CorpusSpec, Distinct
from workers.spec.scan import RunSpec
from workers.store.root import Root


@contextmanager
def list_corpus(corpus: CorpusSpec, watch: Watcher) -> Iterator[Listing]:
    """The current content of a corpus; see `manifest.list_corpus`."""
    watch.phase("listing", None, "images")
    with manifest.list_corpus(corpus, watch.advance) as listing:
        if listing.passed_over and not watch.is_dry:  # a plan has a field for it
            watch.say(f"skipped in the corpus: {describe(listing.passed_over)}")
        if corpus.label_names or corpus.label not in ("folder", "none"):
            watch.say(describe_labels(corpus, listing))
        yield listing


def describe_labels(corpus: CorpusSpec, listing: Listing) -> str:
    """How many images have a label, and how many labels there are; whether any label has a readable name."""
    labels, with_label = coverage(listing, "label")
    if not labels:
        return f"no image has a label; --label is '{corpus.label}'"
    line = f"{labels:,} label{'s' if labels > 1 else ''}; {with_label:,} of {listing.images:,} images have one"
    if corpus.label_names and not has_label(listing, read_names(corpus.label_names).values()):
        line += f"; {corpus.label_names} has no readable name for any of these labels"
    return line


def require_groups(spec: RunSpec, listing: Listing) -> None:
    """Refuse `distinct = group` if no image has a group.

    Raises:
        SpecError: none has.
    """
    if spec.scan.distinct is Distinct.GROUP and not coverage(listing, "group")[0]:
        problem = f"--distinct group: no image has a group, as --group is '{spec.corpus.group}'; add --group folder or another"
        raise SpecError([problem])


def check_root(root: Root, listing: Listing | None, watch: Watcher) -> None:
    """Check that the root can be written, and delete verdicts on stale files that are back."""
    root.check_writable()
    for uri in isolate.forget_stale(root, listing) if listing else ():
        watch.say(f"{uri} is back; it is scanned again")
