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

from workers import log
from workers.errors import DamagedRun
from workers.store import documents, paths, verify
from workers.store.columns import VERSION
from workers.store.documents import Document
from workers.store.files import content, move
from workers.store.root import Root
from workers.store.rows import PartFile, TableWriter
from workers.store.schema import RUNS

Parts = Mapping[str, Sequence[PartFile]]

published = documents.published


def publish(root: Root, run: str, parts: Parts, facts: Mapping[str, Any], scratch: Path) -> Document:
    """Commit a run: claim it, move its staged parts into place, create manifest.json, then what `complete` does.

    Parts of a run that is published already go back into place if they are the ones that its manifest names.

    Returns:
        The manifest that stands: ours, or the one of the writer that was faster.

    Raises:
        DamagedRun: the run is published with other tables under the same run id.
    """
    tables = {name: [asdict(part) for part in files] for name, files in parts.items()}
    told = {"version": 1, "run": run, **facts, "tables": tables, "schemas": dict.fromkeys(parts, VERSION)}
    told["corpus"] = _with_hash(root, facts["corpus"])
    root.create(paths.claim_path(run), documents.encode(told))
    standing = published(root, run)
    if standing is None:
        standing = _commit(root, run)
    elif standing["tables"] == tables:
        _place(root, standing)
    complete(root, standing, scratch)
    if standing["tables"] != tables:
        then, now = standing.get("versions"), facts.get("versions")
        changed = "" if then == now else f" (made by {then}, now {now})"
        raise DamagedRun(
            f"run {run!r} is published with other tables{changed}; give another --run, or remove it: deconvoy rm {run}"
        )
    return standing


def standing(root: Root, run: str) -> Document | None:
    """The manifest.json of a run; None if the run is not published. What a killed publisher has claimed is published first.

    Raises:
        DamagedRun: the manifest is damaged.
    """
    found = published(root, run)
    if found is None and root.exists(paths.claim_path(run)) and _is_complete(root, _claimed(root, run)):
        return _commit(root, run)
    return found


def complete(root: Root, told: Document, scratch: Path) -> None:
    """Remove what a published run does not name from its folders; write its pin and its row of `runs`, unless they are right."""
    run = told["run"]
    if problem := verify.pin_problem(root, told):
        log.Log().say(f"run {run!r}: spec.json {problem}; it is written again")
        root.put(paths.spec_path(run), documents.pin(told["identity"], told["corpus"]["manifest"]))
    _remove_strays(root, told)
    if verify.row_problem(root, told):
        folder = paths.table_folder(RUNS.name, run)
        for name in root.files(folder):
            root.delete(f"{folder}/{name}")
        with TableWriter(root, RUNS, run, scratch) as writer:
            writer.write(documents.runs_row(told))
            writer.close()
    for path in staged(root, run):
        root.delete(path)
    root.delete(paths.claim_path(run))


def staged(root: Root, run: str) -> list[str]:
    """Parts of a run that wait to be published."""
    folders = [f"{paths.staged_folder(run)}/{table}" for table in root.folders(paths.staged_folder(run))]
    return [f"{folder}/{name}" for folder in folders for name in root.files(folder)]


def _commit(root: Root, run: str) -> Document:
    """Publish what was claimed. A claim whose run is published is void, and void claims are looked for after they are read."""
    while True:
        try:
            data = root.read(paths.claim_path(run))
        except FileNotFoundError:
            data = b""
        found = published(root, run)
        if found is not None:
            return found
        if data:
            break
    _place(root, documents.decode(data, run))
    root.put(paths.checksum_path(run), documents.checksum(data))
    root.create(paths.manifest_path(run), data)
    found = published(root, run)
    assert found is not None  # noqa: S101 - it was created by us or before
    return found


def _claimed(root: Root, run: str) -> Document:
    return documents.decode(root.read(paths.claim_path(run)), run)


def _is_complete(root: Root, told: Document) -> bool:
    """Whether every part of a claimed run is staged or in its place."""
    return all(root.exists(paths.staged_path(part["path"])) or verify.is_intact(root, part) for part in _parts_of(told))


def _place(root: Root, told: Document) -> None:
    """Move every part that is staged to where the manifest names it.

    Raises:
        DamagedRun: a part is neither staged nor in its place.
    """
    for part in _parts_of(told):
        try:
            move(root, paths.staged_path(part["path"]), part["path"])
        except FileNotFoundError:  # another publisher of the same tables has moved it
            if not verify.is_intact(root, part):
                raise DamagedRun(
                    f"run {told['run']!r} is claimed by a publisher whose file {part['path']} has vanished; "
                    f"remove the run (deconvoy rm {told['run']}) and run the same command again"
                ) from None


def _parts_of(told: Document) -> list[Mapping[str, Any]]:
    return [part for files in told["tables"].values() for part in files]


def _with_hash(root: Root, corpus: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The corpus as manifest.json names it, with the hash of its list of images."""
    if not corpus or "manifest" not in corpus:
        return corpus
    return {**corpus, "sha256": content(root, corpus["manifest"]).sha256}


def _remove_strays(root: Root, told: Document) -> None:
    """An older version may have left parts that were never published; a reader of whole folders would see them."""
    named = {part["path"] for part in _parts_of(told)}
    for table in set(root.folders(paths.TABLES)) - {RUNS.name}:
        folder = paths.table_folder(table, told["run"])
        for name in root.files(folder):
            if name.endswith(".parquet") and f"{folder}/{name}" not in named:
                root.delete(f"{folder}/{name}")
