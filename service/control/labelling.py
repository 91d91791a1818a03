"""Labels for a published run. Takes a run and a CSV file, gives the run new labels; nothing is scanned again."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

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

SHOWN = 3  # unknown ids

# Images that the file names get its label, and others keep theirs. Then labels that have words are replaced by them.
_MERGE = """
    WITH chosen AS (
        SELECT images.image_index, images.image_id, named.id IS NOT NULL OR old.image_index IS NOT NULL AS is_given,
            CASE WHEN named.id IS NULL THEN images.label ELSE named.value END AS label
        FROM images LEFT JOIN named ON named.id = images.image_id LEFT JOIN old ON old.image_index = images.image_index
    )
    SELECT image_index, image_id, coalesce(words.words, chosen.label) AS label, words.words IS NOT NULL AS is_renamed
    FROM chosen LEFT JOIN words ON words.label = chosen.label
    WHERE is_given OR words.words IS NOT NULL
    ORDER BY image_index
"""
_KNOWN = "SELECT count(*) FROM named SEMI JOIN images ON named.id = images.image_id"
_NAMED_ALREADY = "SELECT count(*) FROM images SEMI JOIN words ON images.label = words.words"
_UNKNOWN = "SELECT id FROM named ANTI JOIN images ON named.id = images.image_id ORDER BY id"
_WORDS = pa.schema([("label", pa.string()), ("words", pa.string())])


@dataclass(frozen=True)
class Relabelling:
    """What a file of labels did to a run.

    Attributes:
        run: run id.
        images: images of the run that the file names.
        unknown: ids in the file that are not ids of images of the run.
        labelled: images of the run that have a label from this or an earlier file.
        renamed: images whose label was replaced by its words.
        unknown_ids: the first of the unknown ids.
    """

    run: str
    images: int
    unknown: int
    labelled: int
    renamed: int = 0
    unknown_ids: tuple[str, ...] = ()


def relabel(run: PublishedRun, place: str | None, names: str | None = None) -> Relabelling:
    """Give images of a published run other labels.

    Args:
        run: the run.
        place: path or URL of a CSV file with the columns image_id and label; an empty label removes the image's label. None to
            replace labels by their words only.
        names: path or URL of a file with the words of labels; see `read_names`. They replace the labels of all images.

    Raises:
        CorpusError: a file cannot be read, lacks a column, names an image twice, or names no image or label of the run.
        DamagedRun: the labels that the run was given before are damaged, or the run was removed meanwhile.
        RunError: the run was removed meanwhile, or other processes keep giving it labels.
    """
    words = label_files.read_names(names) if names else {}
    key, document = FileKey(place, "label") if place else None, documents.read_manifest(run.root, run.run)
    if document is None:
        raise RunError(f"run {run.run!r} was removed in the meantime")
    with run.root.scratch() as scratch:
        for _ in range(ATTEMPTS):
            before = labels.read_given(run.root, run.run, document.created)
            now = catalog.read(run.root, run.run)
            merged, done = _merge(now, key, words, scratch)
            with suppress(OtherLabels):
                labels.give(run.root, document, before, merged, scratch)
                return done
    raise RunError(f"other processes keep changing the labels of run {run.run!r}; run the same command again")


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


def _merge(
    run: PublishedRun, key: FileKey | None, words: Mapping[str, str], scratch: Path
) -> tuple[pa.Table, Relabelling]:
    """All labels that the run is given from now on, and what that changes."""
    images = read(run, IMAGES, pc.scalar(True), ["image_index", "image_id", "label"])
    old = given_labels(run) if LABELS.name in run.tables else LABELS.schema.empty_table()
    with label_files.open_values(key, scratch) as database:
        database.register("images", images)
        database.register("old", old)
        database.register("words", pa.table({"label": [*words], "words": [*words.values()]}, _WORDS))
        [(known,)] = database.execute(_KNOWN).fetchall()
        unknown = [image_id for (image_id,) in database.execute(_UNKNOWN).fetchall()]
        if key and not known:
            _refuse(run, key, unknown, images)
        merged = database.sql(_MERGE).to_arrow_table()
        renamed = pc.sum(merged["is_renamed"]).as_py() or 0
        [(named_already,)] = database.execute(_NAMED_ALREADY).fetchall()
        if not key and not renamed and not named_already:
            raise CorpusError(
                f"the file of label names has no label of run {run.run!r}; its first label is {next(iter(words))!r}"
            )
        done = Relabelling(run.run, known, len(unknown), len(merged), renamed, tuple(unknown[:SHOWN]))
        return merged.drop_columns("is_renamed").cast(LABELS.schema), done


def _refuse(run: PublishedRun, key: FileKey, unknown: Sequence[str], images: pa.Table) -> NoReturn:
    """Refuse a file that names no image of the run."""
    if not unknown:
        raise CorpusError(f"label file {key.place!r} has no rows")
    an_image = images["image_id"][0].as_py() if len(images) else None
    raise CorpusError(
        f"label file {key.place!r} names no image of run {run.run!r}; its first id is {unknown[0]!r}, whereas the run "
        f"has ids such as {an_image!r}"
    )
