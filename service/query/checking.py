"""Which published runs can be trusted. Takes runs and names of tables, gives the runs whose files are what was published.

DuckDB checks no page checksum, so that a flipped bit would be a wrong number. A file is hashed once: what it held is remembered,
outside of the root, by its size and what else changes when it changes. `deconvoy verify` reads every file anew.
"""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from service.query.catalog import MANIFESTS_DEPTH, PublishedRun
from workers.store import documents, files, paths
from workers.store.files import Content
from workers.store.manifest import PartFile
from workers.store.root import Root
from workers.store.tables.shared import RUNS


def whole(
    root: Root, runs: Sequence[PublishedRun], tables: Iterable[str]
) -> tuple[tuple[PublishedRun, ...], Mapping[str, str]]:
    """The runs whose files are what was published, and what is wrong with the others, by run id.

    Files of all tables must be there with their sizes; those of the tables that are named are hashed.
    """
    known = Known(root, tables)
    wrong = {run.run: problem for run in runs if (problem := next(known.problems(run), ""))}
    known.save()
    return tuple(run for run in runs if run.run not in wrong), wrong


class Known:
    """What the files of a root hold, hashed at most once.

    Args:
        root: the root.
        tables: the tables whose files are hashed.
    """

    def __init__(self, root: Root, tables: Iterable[str]) -> None:
        self._root, self._tables = root, {*tables}
        self._stamps = files.stamps(root, paths.RUNS, MANIFESTS_DEPTH) | files.stamps(root, paths.TABLES)
        self._cache = _cache_file(root)
        self._before = _read(self._cache)
        self._now = dict(self._before)

    def problems(self, run: PublishedRun) -> Iterator[str]:
        """What is wrong with a run, one line for each file."""
        try:
            yield from self._problems(run)
        except FileNotFoundError:
            yield f"a file of run {run.run!r} was removed while it was read"

    def _problems(self, run: PublishedRun) -> Iterator[str]:
        manifest, beside = paths.manifest_path(run.run), paths.checksum_path(run.run)
        if manifest not in self._stamps:  # `rm` removes it first
            yield f"{manifest} is missing"
        elif beside in self._stamps:
            wanted = documents.checksum_line(self._content(manifest).sha256)
            if self._content(beside).sha256 != sha256(wanted).hexdigest():
                yield f"{manifest} does not have the SHA-256 in {beside}"
        folder = f"{paths.table_folder(RUNS.name, run.run)}/"
        for path in (each for each in self._stamps if each.startswith(folder) and each.endswith(".parquet")):
            if self._content(path).sha256[:16] != path.removesuffix(".parquet").rpartition("-")[2]:
                yield f"{path} does not have the SHA-256 in its name"
        for table, parts in run.tables.items():
            yield from filter(None, (self._wrong(part, hashed=table in self._tables) for part in parts))

    def _wrong(self, part: PartFile, *, hashed: bool) -> str:
        size = self._stamps.get(part.path, "").partition(" ")[0]
        if not size:
            return f"{part.path} is missing"
        if size != str(part.bytes):
            return f"{part.path} has {size} bytes instead of {part.bytes}"
        if hashed and self._content(part.path) != Content(part.bytes, part.sha256):
            return f"{part.path} is damaged: it does not have the SHA-256 that the manifest names"
        return ""

    def save(self) -> None:
        """Remember what was hashed. That it cannot be remembered costs time and nothing else."""
        if self._now == self._before or self._cache is None:
            return
        with suppress(OSError):
            self._cache.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.NamedTemporaryFile("w", dir=self._cache.parent, delete=False) as file:
                json.dump(self._now, file)
            os.replace(file.name, self._cache)

    def _content(self, path: str) -> Content:
        stamp = self._stamps[path]
        if path not in self._now or self._now[path][0] != stamp:
            there = files.content(self._root, path)
            self._now[path] = (stamp, there.bytes, there.sha256)
        return Content(*self._now[path][1:])


Hashed = dict[str, tuple[str, int, str]]


def _cache_file(root: Root) -> Path | None:
    """Where it is remembered what the files of a root hold; None if this user has no folder of their own."""
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    name = sha256(f"{root.filesystem.protocol} {root.absolute().path('')}".encode()).hexdigest()[:32]
    return home / "deconvoy" / f"hashed-{name}.json"


def _read(cache: Path | None) -> Hashed:
    if cache is None:
        return {}
    try:
        return {
            path: (str(stamp), int(size), str(sha))
            for path, (stamp, size, sha) in json.loads(cache.read_text()).items()
        }
    except (OSError, ValueError, TypeError, AttributeError):  # not there yet, or of another version: hashed again
        return {}
