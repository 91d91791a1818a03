"""Setting the default scan of a root. Takes a scan or a root, writes or removes the file that names the default."""

from service.query import default_scan
from service.query.catalog import PublishedRun
from workers.store import paths
from workers.store.root import Root


def write(scan: PublishedRun) -> None:
    """Make a scan the default of its root."""
    scan.root.put(paths.DEFAULT_SCAN, default_scan.FORMAT.encode(default_scan.DefaultScan(scan.run)))


def clear(root: Root) -> None:
    """Make the newest scan the default."""
    root.delete(paths.DEFAULT_SCAN)
