"""Publish a run atomically. Takes staged parts and facts, moves the parts into place, creates manifest.json.

Readers of whole folders see every file below `tables`, so a part is moved there only once its publication is certain. The
publisher is the process that creates `claim.json`, which is created exclusively and holds the future manifest.json. From then on
the outcome is fixed: if the publisher is killed, the next process finishes its work.

    stage parts -> create claim.json -> move parts -> write manifest.sha256 -> create manifest.json -> row of `runs` -> tidy up
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from workers.errors import DamagedRun
from workers.host import log
from workers.store import documents, labels, manifest, paths, verify
from workers.store.columns import VERSION as SCHEMA_VERSION
from workers.store.documents import PIN, Pin
from workers.store.facts import CorpusFacts, PartFile
from workers.store.files import content
from workers.store.manifest import Manifest, RunFacts
from workers.store.root import Root
from workers.store.rows import TableWriter
from workers.store.tables.shared import RUNS

Parts = Mapping[str, Sequence[PartFile]]

read_manifest = documents.read_manifest


def publish(root: Root, run: str, parts: Parts, facts: RunFacts, scratch: Path) -> Manifest:
    """Publish a run: claim it, move its staged parts into place, create manifest.json, then call `complete`.

    If the run is already published with the same parts, missing or damaged parts are put back into place.

    Returns:
        The manifest of the run: ours, or that of a writer that was faster.

    Raises:
        DamagedRun: the run id is already published with different tables.
    """
    ours = _manifest(root, run, parts, facts)
    root.create(paths.claim_path(run), manifest.encode(ours))
    published = read_manifest(root, run)
    if published is None:
        published = _commit(root, run)
    elif published.tables == ours.tables:
        _place(root, published)
    complete(root, published, scratch)
    if published.tables != ours.tables:
        then, now = published.versions, ours.versions
        changed = "" if then == now else f" (made by {then}, now {now})"
        raise DamagedRun(
            f"run {run!r} was already published with different tables{changed}; choose another --run, or remove "
            f"it: deconvoy rm {run} --root ROOT"
        )
    return published


def find_or_finish(root: Root, run: str) -> Manifest | None:
    """The manifest of a run; None if it is not published. If a publisher was killed, its work is finished first.

    Raises:
        DamagedRun: the manifest, or the claim of a run without one, is damaged.
    """
    published = read_manifest(root, run)
    if published is None and root.exists(paths.claim_path(run)) and _is_complete(root, run):
        return _commit(root, run)
    return published


def complete(root: Root, document: Manifest, scratch: Path) -> None:
    """Tidy up a published run: remove files that its manifest does not name, and repair its pin and its row of `runs`."""
    run = document.run
    problem = verify.pin_problem(root, document)
    if problem and document.listing:
        log.Log().say(f"run {run!r}: spec.json {problem}; writing it again")
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
    """Paths of a run's parts that wait to be published."""
    folders = [f"{paths.staged_folder(run)}/{table}" for table in root.folders(paths.staged_folder(run))]
    return [f"{folder}/{name}" for folder in folders for name in root.files(folder)]


def _manifest(root: Root, run: str, parts: Parts, facts: RunFacts) -> Manifest:
    """The manifest of a run, including the hash of its corpus manifest."""
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
    """Publish a claimed run. The claim is read before the manifest, because a claim is void once its run is published.

    Raises:
        DamagedRun: the claim or one of its parts is damaged or missing.
    """
    claim = _read_claim(root, run)
    published = read_manifest(root, run)
    if published is not None:
        return published
    if claim is None:
        raise DamagedRun(
            f"run {run!r} was removed while it was being published: its claim.json is gone; run the same command again"
        )
    _place(root, documents.decode_claim(claim, run))
    root.put(paths.checksum_path(run), documents.checksum(claim))
    root.create(paths.manifest_path(run), claim)
    published = read_manifest(root, run)
    assert published is not None  # noqa: S101 - created above, or by another publisher before
    return published


def _read_claim(root: Root, run: str) -> bytes | None:
    """The claim.json of a run; None if it does not exist."""
    try:
        return root.read(paths.claim_path(run))
    except FileNotFoundError:
        return None


def _is_complete(root: Root, run: str) -> bool:
    """Whether a run is claimed and every part is either staged or in place."""
    claim = _read_claim(root, run)
    return claim is not None and all(
        root.exists(paths.staged_path(part.path)) or verify.is_intact(root, part)
        for part in documents.decode_claim(claim, run).parts
    )


def _place(root: Root, document: Manifest) -> None:
    """Move every staged part into place. Safe to repeat, and to run in several processes at once.

    Raises:
        DamagedRun: a part is neither staged nor in place.
    """
    run = document.run
    for part in document.parts:
        try:
            root.move(paths.staged_path(part.path), part.path)
        except FileNotFoundError:  # already moved, by us or by another publisher of the same tables
            if not verify.is_intact(root, part):
                raise DamagedRun(
                    f"run {run!r} is claimed but not published, and its file {part.path} is missing; "
                    f"remove the run (`deconvoy rm {run} --root ROOT`) and run the same command again"
                ) from None


def _remove_strays(root: Root, document: Manifest) -> None:
    """Remove unpublished parts that an older version left in the tables, where readers of whole folders would see them."""
    for path, _ in labels.unnamed_files(root, document):
        if path.endswith(".parquet"):
            root.delete(path)
