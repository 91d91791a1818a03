"""Other ways to search than by class. Takes a scan and a text, names the commands that its root has something for."""

import shlex

from service.query import catalog, concepts, labels, notes
from service.query.catalog import PublishedRun

WORDS = "--classes FILE gives classes more words"


def describe(run: PublishedRun, text: str) -> str:
    """The ways to search for a text, for a message. The first one needs a file; the others are commands."""
    quoted = shlex.quote(text)
    ways = [WORDS]
    if labels.labels(run):
        ways.append(f"`deconvoy query label {quoted} --root ROOT` (labels of images)")
    if noted := sum(text.lower() in note.text.lower() for note in notes.of_run(run)):
        ways.append(f"`deconvoy query notes {quoted} --root ROOT` ({noted} note{'s' if noted > 1 else ''})")
    after = "" if concepts.newest_embedding(catalog.runs(run.root), run) else ", after `deconvoy concepts`"
    ways.append(f"`deconvoy query concept {quoted} --root ROOT` (any text{after})")
    return ", ".join(ways)
