"""Views that are computed from tables. Takes names of tables, gives the SQL of the views that these allow.

They are in standard SQL, for every engine. Numbers are those of `deconvoy query`.
"""

import re
from collections.abc import Collection

from service.query.telling import LEAST_SHARED
from workers.store.tables.scan import TOP, UNITS

PURITY = "purity"
SOURCES = {PURITY: (TOP.name, UNITS.name)}  # the tables that a view reads

# Label and purity are as `layers._label_and_purity`: only positive scores count, ties go to the first label, and images without a
# label count in the whole. One image alone shares its label with none, unless it is the only one. Selectivity is as
# `telling.selectivities`, whose mean is of all top images, and whose label needs two. Channels without images have a row, from
# `units`. `1e0 *` makes a double of a number in every engine; their names of this type differ.
_PURITY = """
WITH counted AS (
SELECT run, layer_index, channel, label, COUNT(*) AS images FROM top WHERE score > 0 GROUP BY run, layer_index, channel, label
), placed AS (
SELECT run, layer_index, channel, label, images, SUM(images) OVER (PARTITION BY run, layer_index, channel) AS of_images,
ROW_NUMBER() OVER (PARTITION BY run, layer_index, channel
ORDER BY CASE WHEN label IS NULL THEN 1 ELSE 0 END, images DESC, label) AS place FROM counted
), shared AS (
SELECT * FROM placed WHERE place = 1 AND label IS NOT NULL AND (images >= {least} OR images = of_images)
), scored AS (
SELECT run, layer_index, channel, COUNT(*) AS size, AVG(1e0 * score) AS mean FROM top GROUP BY run, layer_index, channel
)
SELECT units.run, units.layer, units.layer_index, units.channel, shared.label AS label,
COALESCE(1e0 * shared.images / shared.of_images, 0e0) AS purity,
CASE WHEN units.dead OR scored.size IS NULL THEN 0e0 ELSE
CASE WHEN scored.size < units.images AND units.std > 0 THEN LEAST(1e0, GREATEST(0e0,
(scored.mean - units.mean) / units.std * SQRT(1e0 * scored.size / (units.images - scored.size)))) ELSE 0e0 END
+ CASE WHEN shared.images >= {least} THEN 1e0 * shared.images / scored.size ELSE 0e0 END END AS selectivity
FROM units LEFT JOIN shared
ON shared.run = units.run AND shared.layer_index = units.layer_index AND shared.channel = units.channel
LEFT JOIN scored
ON scored.run = units.run AND scored.layer_index = units.layer_index AND scored.channel = units.channel
"""

DOCS = {
    "run": "run id",
    "layer": "name of the layer",
    "layer_index": "position of the layer in `deconvoy layers MODEL`",
    "channel": "index along the feature map's first axis",
    "label": "most common label of the channel's top images with a positive score; null if no two of them share a label; "
    "if there is only one such image, its label",
    "purity": "share of the top images with a positive score that have this label",
    "selectivity": "correlation between being a top image and the score, plus the label's share of all top images",
}  # the columns of the view `purity`


def views(tables: Collection[str]) -> list[tuple[str, str]]:
    """The name and the query of each view that can be computed from some tables."""
    queries = {PURITY: " ".join(_PURITY.format(least=LEAST_SHARED).split())}
    return [(name, queries[name]) for name, sources in SOURCES.items() if {*sources} <= {*tables}]


def statements(tables: Collection[str]) -> list[str]:
    """The statements that create these views, for DuckDB."""
    return [f"CREATE OR REPLACE VIEW {name} AS {query};" for name, query in views(tables)]


def tables_read_by(query: str) -> frozenset[str]:
    """The tables of the views that a query names."""
    named = (sources for view, sources in SOURCES.items() if re.search(rf"\b{view}\b", query, re.IGNORECASE))
    return frozenset().union(*named)
