"""Labels for a published run. Takes a run and a CSV file, gives the run new labels; nothing is scanned again."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from service.query import catalog
from service.query.catalog import PublishedRun
from service.query.reading import given_labels, read
from workers.corpus import labels as label_files
from workers.errors import CorpusError, OtherLabels, RunError
from workers.spec.keys import FileKey
from workers.spec.make import check_run_id
from workers.store import documents, labels
from workers.store.root import Root
from workers.store.tables.shared import IMAGES, LABELS

ATTEMPTS = 10  # while other processes give the run labels, too

# Images that the file names get its label; others keep the label that they were given before.
_MERGE = """
    SELECT images.image_index, images.image_id, CASE WHEN named.id IS NULL THEN old.label ELSE named.value END AS label
    FROM images LEFT JOIN named ON named.id = images.image_id LEFT JOIN old ON old.image_index = images.image_index
    WHERE named.id IS NOT NULL OR old.image_index IS NOT NULL
    ORDER BY images.image_index
"""
_COUNT = "SELECT count(*), count(images.image_id) FROM named LEFT JOIN images ON named.id = images.image_id"


@dataclass(frozen=True)
class Relabelling:
    """What a file of labels did to a run.

    Attributes:
        run: run id.
        images: images of the run that the file names.
        unknown: ids in the file that are not ids of images of the run.
        labelled: images of the run that have a label from this or an earlier file.
    """

    run: str
    images: int
    unknown: int
    labelled: int


def relabel(run: PublishedRun, place: str, names: str | None = None) -> Relabelling:
    """Give images of a published run other labels.

    Args:
        run: the run.
        place: path or URL of a CSV file with the columns image_id and label; an empty label removes the image's label.
        names: path or URL of a file with the words of labels; see `read_names`.

    Raises:
        CorpusError: a file cannot be read, lacks a column, names an image twice, or names no image of the run.
        DamagedRun: the labels that the run was given before are damaged, or the run was removed meanwhile.
        RunError: the run was removed meanwhile, or other processes keep giving it labels.
    """
    words = label_files.read_names(names) if names else {}
    key, document = FileKey(place, "label"), documents.read_manifest(run.root, run.run)
    if document is None:
        raise RunError(f"run {run.run!r} was removed meanwhile")
    with run.root.scratch() as scratch:
        for _ in range(ATTEMPTS):
            before = labels.read_given(run.root, run.run, document.created)
            now = catalog.read(run.root, run.run)
            merged, in_file, known = _merge(now, key, words, scratch)
            with suppress(OtherLabels):
                labels.give(run.root, document, before, merged, scratch)
                return Relabelling(run.run, known, in_file - known, len(merged))
    raise RunError(f"run {run.run!r} is given labels by other processes again and again; run the same command again")


def reset(root: Root, run: str) -> Relabelling:
    """Return to the labels of the corpus, also if labels.json is damaged.

    Raises:
        RunError: the run is not published.
    """
    published = catalog.marks(root)
    if check_run_id(run) not in published:
        raise catalog.unpublished(root, run, published)
    labels.take_back(root, run)
    return Relabelling(run, images=0, unknown=0, labelled=0)


def _merge(run: PublishedRun, key: FileKey, words: Mapping[str, str], scratch: Path) -> tuple[pa.Table, int, int]:
    """All labels that the run is given from now on, the number of ids in the file, and how many of them are images."""
    images = read(run, IMAGES, pc.scalar(True), ["image_index", "image_id"])
    old = given_labels(run) if LABELS.name in run.tables else LABELS.schema.empty_table()
    with label_files.open_values(key, words, scratch) as database:
        database.register("images", images)
        database.register("old", old)
        in_file, known = database.execute(_COUNT).fetchall()[0]
        if not known:
            first = database.execute("SELECT id FROM named LIMIT 1").fetchone()
            an_image = images["image_id"][0].as_py() if len(images) else None
            raise CorpusError(
                f"label file {key.place!r} names no image of run {run.run!r}; its first id is {first and first[0]!r}, an id "
                f"of the run is {an_image!r}"
            )
        return database.sql(_MERGE).to_arrow_table().cast(LABELS.schema), in_file, known
