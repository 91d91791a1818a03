"""What a run looks like on a terminal, and where there is none."""

import io
import json
import re

from rich.console import Console

from service.cli.console import ProgressBars, print_json, print_rows, print_table


def run_under(bars: ProgressBars) -> None:
    bars.phase("listing", None, "images")
    bars.advance(1234)
    bars.say("no GPU: 2 CPU actors")
    bars.phase("scan", 1234, "images")
    bars.advance(600, 2)
    bars.advance(1234, 3)
    bars.phase("publish", None, "tables")
    bars.close()


def test_without_a_terminal_each_phase_is_a_line_at_its_start_and_at_its_end():
    out = io.StringIO()
    run_under(ProgressBars(Console(file=out, width=40)))
    lines = out.getvalue().splitlines()
    assert lines[0] == "listing"
    assert lines[1] == "no GPU: 2 CPU actors"
    assert lines[2].startswith("listing: 1,234 images in ") and "/s" not in lines[2]
    assert lines[3] == "scan: 1,234 images"
    assert lines[4].startswith("scan: 1,234 images in ") and lines[4].endswith("images/s, 3 rejected")
    assert lines[5] == "publish"
    assert lines[6].startswith("publish: ended after ")
    assert len(lines) == 7


def test_on_a_terminal_bars_show_done_total_and_rejects():
    out = io.StringIO()
    run_under(ProgressBars(Console(file=out, force_terminal=True, width=120)))
    shown = out.getvalue()
    assert "scan" in shown and "1,234/1,234" in shown and "3 rejected" in shown and "no GPU: 2 CPU actors" in shown


def test_the_watcher_may_be_closed_before_anything_began():
    out = io.StringIO()
    ProgressBars(Console(file=out)).close()
    assert out.getvalue() == ""


def test_a_line_is_told_as_it_is():
    out = io.StringIO()
    ProgressBars(Console(file=out, width=20)).say("photos/[red]/a b.jpg: the decoder did not come back")
    assert out.getvalue() == "photos/[red]/a b.jpg: the decoder did not come back\n"


def test_a_table_in_a_pipe_is_not_folded_and_markup_in_it_is_text(capsys):
    print_table(
        [{"id": "x" * 300, "score": 1.23456, "dead": True, "label": None}],
        {"id": "image", "score": "score", "dead": "dead", "label": "label"},
    )
    print_table([{"id": "[bold]"}], {"id": "image"})
    lines = capsys.readouterr().out.splitlines()
    assert "x" * 300 in lines[1] and "1.235" in lines[1] and "yes" in lines[1] and "None" not in lines[1]
    assert "[bold]" in lines[3]


def test_a_table_without_rows_is_its_heading(capsys):
    print_table([], {"id": "image"})
    assert capsys.readouterr().out.strip() == "image"


def test_rows_too_wide_for_the_terminal_are_printed_one_by_one(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    rows = [{"a": f"{number} {'x' * 70}", "b": 0.5, "c": None, "d": "short"} for number in range(2)]
    columns = {"a": "first", "b": "second", "c": "third", "d": "fourth"}
    print_rows(rows, columns)
    assert len(capsys.readouterr().out.splitlines()) == 3, "a pipe has a line for each row"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_rows(rows, columns)
    assert "second" in capsys.readouterr().out.splitlines()[0], "these fit, folded"
    monkeypatch.setenv("COLUMNS", "30")
    print_rows(rows, columns)
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).split() for line in capsys.readouterr().out.splitlines()]
    assert (
        lines[0] == ["row", "1"]
        and ["second", "0.5"] in lines
        and ["third"] in lines
        and lines.count(["fourth", "short"]) == 2
    )
    print_rows([], columns)
    assert "second" in capsys.readouterr().out


def test_json_is_one_value_on_one_line(capsys):
    print_json({"müsli": [1, 2.5, None]})
    assert json.loads(capsys.readouterr().out) == {"müsli": [1, 2.5, None]}


def test_what_goes_to_a_file_is_plain_though_the_environment_asks_for_colour(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", " ")
    print_table([{"layer": "relu1"}], {"layer": "layer"})
    with_bars = ProgressBars()
    with_bars.phase("scan", 2, "images")
    with_bars.close()
    assert "\x1b" not in "".join(capsys.readouterr())
