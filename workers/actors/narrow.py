"""A shard's result from that of a scan of more layers. Takes two paths and layers, writes one; needs no network and no image."""

import pyarrow as pa
import pyarrow.compute as pc

from workers.actors.merge import DerivedReport, read_child
from workers.actors.shard import Narrow
from workers.store import rows
from workers.store.root import Root
from workers.store.tables.scan import SHARD

BY_LAYER = ("top", "statistics")  # columns with a row for each channel


def narrow(root: Root, item: Narrow) -> DerivedReport:
    """Write a shard's result with the rows of some layers. Their numbers are those of the wider result."""
    missing = dict[str, str]()
    wider = read_child(root, item.wider, SHARD.names, missing, sealed=True)
    if wider is not None:
        columns = {name: _of_layers(wider, name, item.layers) for name in SHARD.names}
        lists = {name: pa.ListArray.from_arrays([0, len(values)], values) for name, values in columns.items()}
        root.put(item.result, rows.encode(SHARD, pa.table(lists)))
    return DerivedReport(item.result, missing)


def _of_layers(wider: pa.Table, name: str, layers: tuple[int, ...]) -> pa.StructArray:
    """The values of a column, without those of other layers."""
    values = rows.values(wider, name)
    if name not in BY_LAYER:
        return values
    return values.filter(pc.is_in(pc.struct_field(values, "layer_index"), pa.array(layers, pa.int32())))
