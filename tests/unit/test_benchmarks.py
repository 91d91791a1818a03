"""The page of benchmarks is that of its record, and figures come back from it as they were."""

from tests.benchmarks.__main__ import DOCS, RECORD, SECTIONS
from tests.benchmarks.figures import Figure, decode, encode, table

FIGURES = [
    Figure("scan", "images/s", (100.0, 120.0, 110.0)),
    Figure("scan / forward", "", (0.97, 0.93), 0.95),
    Figure("command", "s", (0.4,), 0.3, at_most=True),
]


def test_a_table_shows_medians_spread_and_what_was_missed():
    assert table(FIGURES).splitlines()[2:] == [
        "| scan | 110 (100 to 120) images/s |  |  |",
        "| scan / forward | 0.95 (0.93 to 0.97) | at least 0.95 | yes |",
        "| command | 0.4 s | at most 0.3 | no |",
    ]


def test_figures_come_back_from_the_record():
    assert decode(encode({"one": FIGURES, "two": []})) == {"one": FIGURES, "two": []}


def test_the_page_has_the_recorded_figures():
    recorded = decode(RECORD.read_text())
    assert list(recorded) == [title for title, _ in SECTIONS]
    page = (DOCS / "benchmarks.md").read_text()
    assert all(f"### {title}\n\n{table(figures)}" in page for title, figures in recorded.items())
