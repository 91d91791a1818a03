"""Results that are derived from those of shards. Takes an item, writes its result; needs no network."""

from workers.actors.account import account
from workers.actors.merge import DerivedReport, merge
from workers.actors.narrow import narrow
from workers.actors.shard import Account, Derived, Merge
from workers.store.root import Root


def derive(root: Root, item: Derived) -> DerivedReport:
    """Merge results, account for images, or take the part of a result that belongs to some layers."""
    if isinstance(item, Merge):
        return merge(root, item)
    return account(root, item) if isinstance(item, Account) else narrow(root, item)
