"""Checks of published runs. Takes runs and names of tables, gives the runs whose files are as they were published.

DuckDB does not verify page checksums, so a flipped bit would become a wrong number. Each file is hashed once. A cache outside of
the root stores its hash, until the file's size or stamp changes. `deconvoy verify` reads every file again.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from service.query.catalog import MANIFESTS_DEPTH, PublishedRun
from workers.store import documents, files, paths
from workers.store.facts import PartFile
from workers.store.files import Content
from workers.store.json_format import JsonFormat
from workers.store.root import Root
from workers.store.tables.shared import RUNS


def find_intact(
    root: Root, runs: Sequence[PublishedRun], tables: Iterable[str]
) -> tuple[tuple[PublishedRun, ...], Mapping[str, str]]:
    """The runs whose files are as they were published, and what is wrong with the others, by run id.

    The files of all tables must exist with their sizes; those of `tables` are also hashed.
    """
    hashes = FileHashes(root, tables)
    damaged = {run.run: problem for run in runs if (problem := next(hashes.problems(run), ""))}
    hashes.save()
    return tuple(run for run in runs if run.run not in damaged), damaged


class FileHashes:
    """The hashes of a root's files; each file is hashed at most once.

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
            yield "a file was removed while it was being read"

    def _problems(self, run: PublishedRun) -> Iterator[str]:
        yield from self._manifest_problems(run.run)
        folder = f"{paths.table_folder(RUNS.name, run.run)}/"
        for path in (path for path in self._stamps if path.startswith(folder) and path.endswith(".parquet")):
            if self._content(path).sha256[:16] != path.removesuffix(".parquet").rpartition("-")[2]:
                yield f"{path} does not match the SHA-256 in its name"
        for table, parts in run.tables.items():
            yield from filter(None, (self._part_problem(part, hashed=table in self._tables) for part in parts))

    def _manifest_problems(self, run: str) -> Iterator[str]:
        manifest, checksum = paths.manifest_path(run), paths.checksum_path(run)
        if manifest not in self._stamps:  # `rm` removes it first
            yield f"{manifest} is missing"
        elif checksum in self._stamps:
            line = documents.checksum_line(self._content(manifest).sha256)
            if self._content(checksum).sha256 != sha256(line).hexdigest():
                yield f"{manifest} does not match the SHA-256 in {checksum}"

    def _part_problem(self, part: PartFile, *, hashed: bool) -> str:
        """What is wrong with a table's file; empty if nothing is."""
        size = self._stamps.get(part.path, "").partition(" ")[0]
        if not size:
            return f"{part.path} is missing"
        if size != str(part.bytes):
            return f"{part.path} has {size} bytes instead of {part.bytes}"
        if hashed and self._content(part.path) != Content(part.bytes, part.sha256):
            return f"{part.path} is damaged: it does not match the SHA-256 that the manifest names"
        return ""

    def save(self) -> None:
        """Store new hashes in the cache. If that fails, the files are hashed again next time."""
        if self._now == self._before or self._cache is None:
            return
        with suppress(OSError):
            self._cache.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.NamedTemporaryFile(dir=self._cache.parent, delete=False) as file:
                file.write(_FORMAT.encode(self._now))
            os.replace(file.name, self._cache)

    def _content(self, path: str) -> Content:
        stamp, hashed = self._stamps[path], self._now.get(path)
        if hashed is None or hashed.stamp != stamp:
            content = files.content(self._root, path)
            hashed = self._now[path] = Hashed(stamp, content.bytes, content.sha256)
        return Content(hashed.bytes, hashed.sha256)


class Hashed(NamedTuple):
    """The stamp of a file when it was hashed, its size, and its SHA-256; a list in the cache."""

    stamp: str
    bytes: int
    sha256: str


_FORMAT = JsonFormat(dict[str, Hashed], indent=None, sort_keys=False)  # by path


def _cache_file(root: Root) -> Path | None:
    """The cache of a root's hashes; None if this user has no home folder."""
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    name = sha256(f"{root.filesystem.protocol} {root.absolute().path('')}".encode()).hexdigest()[:32]
    return home / "deconvoy" / f"hashed-{name}.json"


def _read(cache: Path | None) -> dict[str, Hashed]:
    if cache is None:
        return {}
    try:
        return _FORMAT.decode(cache.read_bytes())
    except (OSError, ValueError):  # no cache yet, or one of another version
        return {}
