"""Results that are derived from those of shards. Takes an item, writes its result; needs no network."""

from workers.actors.account import account
from workers.actors.merge import DerivedReport, merge
from workers.actors.shard import Account, Merge
from workers.store.root import Root


def derive(root: Root, item: Merge | Account) -> DerivedReport:
    """Merge results, or account for images."""
    return merge(root, item) if isinstance(item, Merge) else account(root, item)
