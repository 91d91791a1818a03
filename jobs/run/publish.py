"""Make a run visible at once. Takes staged parts and facts, moves the parts into place, creates manifest.json.

Readers of whole folders see all that lies below `tables`, so that no part is put there before it is certain that it will be
published. Who publishes is decided by `claim.json`, which is created exclusively and holds the manifest.json that will be. From
then on everything is decided: whoever comes next finishes what a killed publisher began.

    stage parts -> create claim.json -> move parts -> write manifest.sha256 -> create manifest.json -> row of `runs` -> tidy up
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workers.errors import DamagedRun
from workers.host import log
from workers.store import documents, paths, verify
from workers.store.columns import VERSION
from workers.store.documents import Document
from workers.store.files import content
from workers.store.root import Root
from workers.store.rows import PartFile, TableWriter
from workers.store.schema import RUNS

Parts = Mapping[str, Sequence[PartFile]]

published = documents.published


def publish(root: Root, run: str, parts: Parts, facts: Mapping[str, Any], scratch: Path) -> Document:
    """Commit a run: claim it, move its staged parts into place, create manifest.json, then what `complete` does.

    Parts of a run that is published already go back into place if they are the ones that its manifest names.

    Returns:
        The manifest of the run: ours, or that of the writer that was faster.

    Raises:
        DamagedRun: the run is published with other tables under the same run id.
    """
    tables = {name: [asdict(part) for part in files] for name, files in parts.items()}
    ours = {"version": 1, "run": run, **facts, "tables": tables, "schemas": dict.fromkeys(parts, VERSION)}
    ours["corpus"] = _with_hash(root, facts["corpus"])
    root.create(paths.claim_path(run), documents.encode(ours))
    manifest = published(root, run)
    if manifest is None:
        manifest = _commit(root, run)
    elif manifest["tables"] == tables:
        _place(root, manifest)
    complete(root, manifest, scratch)
    if manifest["tables"] != tables:
        then, now = manifest.get("versions"), facts.get("versions")
        changed = "" if then == now else f" (made by {then}, now {now})"
        raise DamagedRun(
            f"run {run!r} is published with other tables{changed}; give another --run, or remove it: deconvoy rm {run}"
        )
    return manifest


def find_or_finish(root: Root, run: str) -> Document | None:
    """The manifest.json of a run; None if the run is not published. What a killed publisher has claimed is published first.

    Raises:
        DamagedRun: the manifest, or the claim of a run without one, is damaged.
    """
    manifest = published(root, run)
    if manifest is None and root.exists(paths.claim_path(run)) and _is_complete(root, run):
        return _commit(root, run)
    return manifest


def complete(root: Root, manifest: Document, scratch: Path) -> None:
    """Remove what a published run does not name from its folders; write its pin and its row of `runs`, unless they are right."""
    run = manifest["run"]
    if problem := verify.pin_problem(root, manifest):
        log.Log().say(f"run {run!r}: spec.json {problem}; it is written again")
        root.put(paths.spec_path(run), documents.pin(manifest["identity"], manifest["corpus"]["manifest"]))
    _remove_strays(root, manifest)
    if verify.row_problem(root, manifest):
        folder = paths.table_folder(RUNS.name, run)
        for name in root.files(folder):
            root.delete(f"{folder}/{name}")
        with TableWriter(root, RUNS, run, scratch) as writer:
            writer.write(documents.runs_row(manifest))
            writer.close()
    for path in staged(root, run):
        root.delete(path)
    root.delete(paths.claim_path(run))


def staged(root: Root, run: str) -> list[str]:
    """Parts of a run that wait to be published."""
    folders = [f"{paths.staged_folder(run)}/{table}" for table in root.folders(paths.staged_folder(run))]
    return [f"{folder}/{name}" for folder in folders for name in root.files(folder)]


def _commit(root: Root, run: str) -> Document:
    """Publish what was claimed. A claim whose run is published is void, so that the manifest is looked for after it is read.

    Raises:
        DamagedRun: the claim is damaged or gone, or one of its parts is.
    """
    claim = _read_claim(root, run)
    manifest = published(root, run)
    if manifest is not None:
        return manifest
    if claim is None:
        raise DamagedRun(
            f"run {run!r} was removed while it was being published: its claim.json has vanished; run the same command again"
        )
    _place(root, documents.claimed(claim, run))
    root.put(paths.checksum_path(run), documents.checksum(claim))
    root.create(paths.manifest_path(run), claim)
    manifest = published(root, run)
    assert manifest is not None  # noqa: S101 - it was created by us or before
    return manifest


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
        root.exists(paths.staged_path(part["path"])) or verify.is_intact(root, part)
        for part in _parts_of(documents.claimed(claim, run))
    )


def _place(root: Root, manifest: Document) -> None:
    """Move every part that is staged to where the manifest names it; may be done again, and by several at once.

    Raises:
        DamagedRun: a part is neither staged nor in its place.
    """
    run = manifest["run"]
    for part in _parts_of(manifest):
        try:
            root.move(paths.staged_path(part["path"]), part["path"])
        except FileNotFoundError:  # it was moved before, or by another publisher of the same tables
            if not verify.is_intact(root, part):
                raise DamagedRun(
                    f"run {run!r} is claimed by a publisher whose file {part['path']} has vanished; "
                    f"remove the run (deconvoy rm {run}) and run the same command again"
                ) from None


def _parts_of(manifest: Document) -> list[Mapping[str, Any]]:
    return [part for files in manifest["tables"].values() for part in files]


def _with_hash(root: Root, corpus: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The corpus as manifest.json names it, with the hash of its list of images."""
    if not corpus or "manifest" not in corpus:
        return corpus
    return {**corpus, "sha256": content(root, corpus["manifest"]).sha256}


def _remove_strays(root: Root, manifest: Document) -> None:
    """An older version may have left parts that were never published; a reader of whole folders would see them."""
    named = {part["path"] for part in _parts_of(manifest)}
    for table in set(root.folders(paths.TABLES)) - {RUNS.name}:
        folder = paths.table_folder(table, manifest["run"])
        for name in root.files(folder):
            if name.endswith(".parquet") and f"{folder}/{name}" not in named:
                root.delete(f"{folder}/{name}")
