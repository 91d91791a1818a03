"""Registers published runs in an Iceberg catalog. Takes a root and a catalog, makes its tables hold the files of the root's runs.

A table of the root becomes a table of the catalog. Each is changed in one commit, so readers see the files of all runs before or
after it. Runs that are gone leave the table `runs` first, and new ones come into it last. Tables are read again before a commit
is retried, because another process may have registered the same runs.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog, list_catalogs, load_catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import DataFile, ManifestContent
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.update import (
    AddPartitionSpecUpdate,
    AddSchemaUpdate,
    AssertCurrentSchemaId,
    AssertTableUUID,
    SetCurrentSchemaUpdate,
    SetDefaultSpecUpdate,
    SetPropertiesUpdate,
    TableUpdate,
)

from service.control import iceberg
from service.query import catalog, sql
from workers.errors import CatalogError, DamagedRun, DeconvoyError, UsageError, nearest
from workers.host import log
from workers.host.retrying import reason
from workers.store import damage, paths
from workers.store.columns import Table
from workers.store.root import Root
from workers.store.tables.registry import TABLES
from workers.store.tables.shared import RUNS

TRIES = 4  # of a commit, if other processes change the table


@dataclass(frozen=True)
class Registered:
    """A table of a catalog: its runs and files, and the numbers of files that were added and removed."""

    table: str
    runs: int
    files: int
    added: int
    removed: int


def open_catalog(name: str, properties: Mapping[str, str]) -> Catalog:
    """A catalog of pyiceberg's configuration.

    Args:
        name: its name there.
        properties: properties that override those of the configuration.

    Raises:
        UsageError: the catalog is not configured, or cannot be opened.
    """
    try:
        known = list_catalogs()
        if name in known or properties:
            return load_catalog(name, **properties)
    except Exception as error:  # each kind of catalog raises its own errors
        raise UsageError(f"Iceberg catalog {name!r} cannot be opened: {reason(error)}") from error
    way_out = "add it to .pyiceberg.yaml, set PYICEBERG_CATALOG__NAME__URI, or use --property"
    raise UsageError(f"no Iceberg catalog {name!r} is configured; {nearest(name, known)}; {way_out}")


def register(root: Root, target: Catalog, namespace: str) -> tuple[Registered, ...]:
    """Make the tables of a namespace hold the files of all published runs. Runs with damaged or missing files are left out.

    Args:
        root: the root.
        target: the catalog.
        namespace: the namespace, which holds the tables of this root only.

    Returns:
        The tables that exist now, `runs` last: a run that it lists has all its other tables.

    Raises:
        RunError: no run is published, and none was registered.
        DamagedRun: all runs are damaged.
        UsageError: a table belongs to another root, or is not one that this function has created.
        CatalogError: the catalog does not answer, or refuses a change.
    """
    owner = iceberg.location_of(root)
    with _translated(f"namespace {namespace!r}"):
        exists = target.namespace_exists(namespace)
        existing = {*TABLES} & {name for *_, name in target.list_tables(namespace)} if exists else set[str]()
    files = _published(root, may_be_empty=bool(existing))
    if not exists:
        with _translated(f"namespace {namespace!r}"):
            target.create_namespace(namespace)
    session = _Session(root, target, namespace, owner)
    names = sorted({*files} | existing, key=lambda name: (name == RUNS.name, name))
    gone = session.update(RUNS, files.get(RUNS.name, ()), adds=False).removed if RUNS.name in existing else 0
    registered = [session.update(TABLES[name], files.get(name, ())) for name in names]
    registered[-1] = replace(registered[-1], removed=registered[-1].removed + gone)
    session.warn()
    return tuple(registered)


def _published(root: Root, *, may_be_empty: bool) -> Mapping[str, Sequence[str]]:
    """The paths of the files of all published runs, by table; nothing if that is allowed and there are no runs."""
    if may_be_empty and not catalog.runs(root):
        return {}
    return sql.published(root, ())


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Raise a catalog's errors as CatalogError. CommitFailedException passes, because it is retried."""
    try:
        yield
    except (DeconvoyError, CommitFailedException):
        raise
    except Exception as error:  # each kind of catalog raises its own errors
        raise CatalogError(f"{what} of the Iceberg catalog: {reason(error)}") from error


@dataclass
class _Session:
    """The changes of one call.

    Attributes:
        root: the root.
        target: the catalog.
        namespace: the namespace of the tables.
        owner: location of the root.
        outdated: runs of earlier versions, whose files lack ids of nested fields.
    """

    root: Root
    target: Catalog
    namespace: str
    owner: str
    outdated: set[str] = field(default_factory=set)

    def update(self, table: Table, files: Sequence[str], *, adds: bool = True) -> Registered:
        """Make a table hold these files and no others; without `adds`, only remove others."""
        for _ in range(TRIES):
            with _translated(f"table {self._name(table)!r}"):
                try:
                    return self._update(table, files, adds=adds)
                except CommitFailedException as error:
                    conflict = error
        raise CatalogError(f"table {self._name(table)!r} keeps changing: {reason(conflict)}; run the command again")

    def warn(self) -> None:
        """Log which runs some engines cannot read in full."""
        if self.outdated:
            runs = ", ".join(sorted(self.outdated))
            log.Log().say(
                f"published by an earlier version of Deconvoy: {runs}; Spark, Trino and DuckDB may read their pictures "
                "and lists as null",
                log.WARNING,
            )

    def _name(self, table: Table) -> str:
        return f"{self.namespace}.{table.name}"

    def _update(self, table: Table, files: Sequence[str], *, adds: bool) -> Registered:
        entry = self._load(table)
        current = _live_files(entry)
        wanted = {f"{self.owner}/{path}": path for path in files}
        self._require_own(table, current)
        new = [path for location, path in wanted.items() if location not in current] if adds else []
        added = [self._data_file(path, entry) for path in new]
        removed = [file for location, file in current.items() if location not in wanted]
        if added or removed:
            _commit(entry, added, removed)
        runs = len({paths.run_of(path) for path in files})
        return Registered(table.name, runs, len(files), len(added), len(removed))

    def _load(self, table: Table) -> IcebergTable:
        """The table, with the columns and properties that it should have. It is created if it does not exist."""
        schema = iceberg.schema_of(table)
        properties = iceberg.properties_of(schema, self.owner)
        entry = self.target.create_table_if_not_exists(self._name(table), schema, properties=properties)
        owner = entry.properties.get(iceberg.OWNER)
        if owner != self.owner:
            whose = f"belongs to root {owner!r}" if owner else "was not created by `deconvoy register`"
            raise UsageError(f"table {self._name(table)!r} {whose}; use another --namespace")
        if updates := _updates(entry, table, properties):
            metadata = entry.metadata
            requirements = (
                AssertTableUUID(uuid=metadata.table_uuid),
                AssertCurrentSchemaId(current_schema_id=metadata.current_schema_id),
            )
            self.target.commit_table(entry, requirements, updates)
            entry = self.target.load_table(self._name(table))
        return entry

    def _require_own(self, table: Table, current: Mapping[str, DataFile]) -> None:
        foreign = [location for location in current if not location.startswith(f"{self.owner}/{paths.TABLES}/")]
        if foreign:
            raise UsageError(
                f"table {self._name(table)!r} has rows that another program wrote, in {foreign[0]}; "
                "drop the table, without its files, and register again"
            )

    def _data_file(self, path: str, entry: IcebergTable) -> DataFile:
        try:
            with self.root.open(path) as file, damage.translate(self.root.path(path)):
                footer = pq.read_metadata(file)
            data_file = iceberg.data_file(self.root, path, footer, entry.schema(), entry.spec().spec_id)
        except FileNotFoundError as error:
            raise DamagedRun(f"{path} was removed in the meantime; run the command again") from error
        if iceberg.lacks_nested_ids(footer):
            self.outdated.add(paths.run_of(path))
        return data_file


def _updates(entry: IcebergTable, table: Table, properties: Mapping[str, str]) -> tuple[TableUpdate, ...]:
    """What a table of the catalog lacks.

    Catalogs number the columns of a new table anew, but accept any later schema as it is. So the ids of the files are set here.
    """
    updates: list[TableUpdate] = []
    schema = iceberg.schema_of(table, 1 + max(entry.schemas()))
    if entry.schema() != schema:
        updates += (AddSchemaUpdate(schema_=schema), SetCurrentSchemaUpdate(schema_id=-1))
    if entry.spec().is_unpartitioned():
        updates += (AddPartitionSpecUpdate(spec=iceberg.SPEC), SetDefaultSpecUpdate(spec_id=-1))
    if properties.items() - entry.properties.items():
        updates.append(SetPropertiesUpdate(updates=dict(properties)))
    return tuple(updates)


def _live_files(entry: IcebergTable) -> dict[str, DataFile]:
    """The data files of a table's current snapshot, by location.

    Raises:
        UsageError: rows were deleted.
    """
    snapshot = entry.current_snapshot()
    manifests = snapshot.manifests(entry.io) if snapshot else []
    if any(manifest.content == ManifestContent.DELETES for manifest in manifests):
        raise UsageError(f"rows of table {'.'.join(entry.name())!r} were deleted; drop the table and register again")
    live = [item.data_file for manifest in manifests for item in manifest.fetch_manifest_entry(entry.io)]
    return {file.file_path: file for file in live}


def _commit(entry: IcebergTable, added: Sequence[DataFile], removed: Sequence[DataFile]) -> None:
    """Change the files of a table in one snapshot."""
    with entry.transaction() as transaction:
        snapshot = transaction.update_snapshot()
        with snapshot.overwrite() if removed else snapshot.fast_append() as change:
            for file in added:
                change.append_data_file(file)
            for file in removed:
                change.delete_data_file(file)
