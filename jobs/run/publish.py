"""Make a run visible at once. Takes staged parts and facts, moves the parts into place, creates manifest.json.

Readers of whole folders see all that lies below `tables`, so that no part is put there before it is certain that it will be
published. Who publishes is decided by `claim.json`, which is created exclusively and holds the manifest.json that will be. From
then on everything is decided: whoever comes next finishes what a killed publisher began.

    stage parts -> create claim.json -> move parts -> write manifest.sha256 -> create manifest.json -> row of `runs` -> tidy up
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from workers.errors import DamagedRun
from workers.host import log
from workers.store import documents, manifest, paths, verify
from workers.store.columns import VERSION as SCHEMA_VERSION
from workers.store.documents import PIN, Pin
from workers.store.files import content
from workers.store.manifest import CorpusFacts, Manifest, PartFile, RunFacts
from workers.store.root import Root
from workers.store.rows import TableWriter
from workers.store.tables.shared import RUNS

Parts = Mapping[str, Sequence[PartFile]]

published = documents.published


def publish(root: Root, run: str, parts: Parts, facts: RunFacts, scratch: Path) -> Manifest:
    """Commit a run: claim it, move its staged parts into place, create manifest.json, then what `complete` does.

    Parts of a run that is published already go back into place if they are the ones that its manifest names.

    Returns:
        The manifest of the run: ours, or that of the writer that was faster.

    Raises:
        DamagedRun: the run is published with other tables under the same run id.
    """
    ours = _manifest(root, run, parts, facts)
    root.create(paths.claim_path(run), manifest.encode(ours))
    stands = published(root, run)
    if stands is None:
        stands = _commit(root, run)
    elif stands.tables == ours.tables:
        _place(root, stands)
    complete(root, stands, scratch)
    if stands.tables != ours.tables:
        then, now = stands.versions, ours.versions
        changed = "" if then == now else f" (made by {then}, now {now})"
        raise DamagedRun(
            f"run {run!r} is published with other tables{changed}; give another --run, or remove it: deconvoy rm {run}"
        )
    return stands


def find_or_finish(root: Root, run: str) -> Manifest | None:
    """The manifest.json of a run; None if the run is not published. What a killed publisher has claimed is published first.

    Raises:
        DamagedRun: the manifest, or the claim of a run without one, is damaged.
    """
    stands = published(root, run)
    if stands is None and root.exists(paths.claim_path(run)) and _is_complete(root, run):
        return _commit(root, run)
    return stands


def complete(root: Root, document: Manifest, scratch: Path) -> None:
    """Remove what a published run does not name from its folders; write its pin and its row of `runs`, unless they are right."""
    run = document.run
    problem = verify.pin_problem(root, document)
    if problem and document.listing:
        log.Log().say(f"run {run!r}: spec.json {problem}; it is written again")
        root.put(paths.spec_path(run), PIN.encode(Pin(document.identity, document.listing)))
    _remove_strays(root, document)
    if verify.row_problem(root, document):
        folder = paths.table_folder(RUNS.name, run)
        for name in root.files(folder):
            root.delete(f"{folder}/{name}")
        with TableWriter(root, RUNS, run, scratch) as writer:
            writer.write(documents.runs_row(document))
            writer.close()
    for path in staged(root, run):
        root.delete(path)
    root.delete(paths.claim_path(run))


def staged(root: Root, run: str) -> list[str]:
    """Parts of a run that wait to be published."""
    folders = [f"{paths.staged_folder(run)}/{table}" for table in root.folders(paths.staged_folder(run))]
    return [f"{folder}/{name}" for folder in folders for name in root.files(folder)]


def _manifest(root: Root, run: str, parts: Parts, facts: RunFacts) -> Manifest:
    """The manifest of a run, with the hash of its list of images."""
    corpus = facts.corpus
    if corpus is not None and corpus.manifest is not None:
        listing = corpus.manifest
        corpus = CorpusFacts(source=corpus.source, manifest=listing, sha256=content(root, listing).sha256)
    known = {name: getattr(facts, name) for name in facts.model_fields_set} | {"corpus": corpus}
    tables = {name: tuple(files) for name, files in parts.items()}
    return Manifest(
        **known, version=manifest.VERSION, run=run, tables=tables, schemas=dict.fromkeys(parts, SCHEMA_VERSION)
    )


def _commit(root: Root, run: str) -> Manifest:
    """Publish what was claimed. A claim whose run is published is void, so that the manifest is looked for after it is read.

    Raises:
        DamagedRun: the claim is damaged or gone, or one of its parts is.
    """
    claim = _read_claim(root, run)
    stands = published(root, run)
    if stands is not None:
        return stands
    if claim is None:
        raise DamagedRun(
            f"run {run!r} was removed while it was being published: its claim.json has vanished; run the same command again"
        )
    _place(root, documents.claimed(claim, run))
    root.put(paths.checksum_path(run), documents.checksum(claim))
    root.create(paths.manifest_path(run), claim)
    stands = published(root, run)
    assert stands is not None  # noqa: S101 - it was created by us or before
    return stands


def _read_claim(root: Root, run: str) -> bytes | None:
    """The claim.json of a run; None if there is none."""
    try:
        return root.read(paths.claim_path(run))
    except FileNotFoundError:
        return None


def _is_complete(root: Root, run: str) -> bool:
    """Whether a run is claimed, and every part is staged or in its place."""
    claim = _read_claim(root, run)
    return claim is not None and all(
        root.exists(paths.staged_path(part.path)) or verify.is_intact(root, part)
        for part in documents.claimed(claim, run).parts
    )


def _place(root: Root, document: Manifest) -> None:
    """Move every part that is staged to where the manifest names it; may be done again, and by several at once.

    Raises:
        DamagedRun: a part is neither staged nor in its place.
    """
    run = document.run
    for part in document.parts:
        try:
            root.move(paths.staged_path(part.path), part.path)
        except FileNotFoundError:  # it was moved before, or by another publisher of the same tables
            if not verify.is_intact(root, part):
                raise DamagedRun(
                    f"run {run!r} is claimed by a publisher whose file {part.path} has vanished; "
                    f"remove the run (deconvoy rm {run}) and run the same command again"
                ) from None


def _remove_strays(root: Root, document: Manifest) -> None:
    """An older version may have left parts that were never published; a reader of whole folders would see them."""
    named = {part.path for part in document.parts}
    for table in set(root.folders(paths.TABLES)) - {RUNS.name}:
        folder = paths.table_folder(table, document.run)
        for name in root.files(folder):
            if name.endswith(".parquet") and f"{folder}/{name}" not in named:
                root.delete(f"{folder}/{name}")
