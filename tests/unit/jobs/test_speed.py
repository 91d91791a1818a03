"""The speed of a scan: all parts are measured, and the scan that is measured is a whole one."""

import json

import pytest
from typer.testing import CliRunner

from jobs import speed
from service.cli.main import app

PARTS = ["decode", "copy and normalise", "forward", "maxima", "reduce", "encode", "write"]


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    monkeypatch.setattr(speed, "IMAGES", {"cpu": 5})


def test_every_part_of_a_scan_is_measured():
    measured = speed.measure("cpu")
    assert measured.images == 5 and measured.seconds > 0
    assert [part.name for part in measured.parts] == PARTS
    assert all(part.seconds >= 0 for part in measured.parts)
    assert 0 < measured.forward_share < 2


def test_the_command_prints_each_part_after_the_whole():
    answer = CliRunner().invoke(app, ["doctor", "--bench", "--json"])
    assert answer.exit_code == 0, answer.output
    lines = [finding for finding in json.loads(answer.stdout) if finding["check"] not in ("packages", "devices")]
    assert [finding["check"] for finding in lines] == ["scan", *(f"{name} alone" for name in PARTS)]
    assert "images/s" in lines[0]["detail"] and "of the speed of the forward pass alone" in lines[0]["detail"]
    assert all(finding["detail"].endswith(" ms per image") for finding in lines[1:])
