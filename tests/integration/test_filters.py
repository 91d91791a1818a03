"""Filters as a job: published once, refused when wrong, drawn side by side."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from jobs.filters import filters
from jobs.watch import SilentWatcher
from service.query import catalog
from service.sheets import boards
from tests.support import pages
from workers.errors import ModelError, RunError
from workers.kinds import Kind
from workers.models.zfnet import zfnet_mini
from workers.spec.filters import FiltersRun
from workers.spec.make import make
from workers.store.root import Root


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Path:
    """zfnet-mini whose kernel 3 is dead, 5 a copy of 2, and 7 a wave of four pixels along the rows."""
    state = zfnet_mini().state_dict()
    weight = state["conv1.weight"]
    weight[3] = 0
    weight[5] = 2 * weight[2]
    weight[7] = torch.cos(torch.arange(7) * torch.pi / 2)[None, :, None].expand(3, 7, 7)
    file = tmp_path_factory.mktemp("weights") / "planted.safetensors"
    safetensors.torch.save_file(state, file)
    return file


def spec(root: Path, *models: str, run: str = "f") -> FiltersRun:
    return make(FiltersRun, {"run": run, "root": str(root), "models": [{"source": model} for model in models]})


def test_what_was_planted_is_found_published_and_drawn(planted, tmp_path):
    models = ("deconvoy://zfnet-mini", f"deconvoy://zfnet-mini?weights={planted}")
    outcome = filters(spec(tmp_path, *models), SilentWatcher())
    assert (outcome.exit_code, outcome.already_published) == (0, False)
    rows = pq.read_table(tmp_path / "tables" / "filters").to_pylist()
    assert len(rows) == 80 and [row["model"] for row in rows[::40]] == list(models)
    found = {row["channel"]: row for row in rows[40:]}
    assert [channel for channel, row in found.items() if row["dead"]] == [3]
    assert found[3]["peak_frequency"] is None and found[5]["duplicate_of"] == 2 and found[2]["duplicate_of"] is None
    assert found[7]["peak_frequency"] == pytest.approx(0.25, abs=0.01)
    assert found[7]["orientation_deg"] == pytest.approx(90, abs=3)
    told = pq.read_table(tmp_path / "tables" / "runs").to_pylist()
    assert [(row["run"], row["job"], row["corpus"], row["channels"]) for row in told] == [("f", "filters", None, 80)]
    drawn = boards.BOARDS[Kind.FILTERS](catalog.find(Root(str(tmp_path)), "f", None))
    assert drawn.width >= 1200 and 450 <= drawn.height <= 700  # four rows of kernels, and the frequencies below
    found = pages.shown(tmp_path, "f")["found"]
    assert [(each["model"], each["channel"]) for each in found] == [(row["model"], row["channel"]) for row in rows]


def test_the_same_command_does_nothing_and_another_is_refused(tmp_path):
    filters(spec(tmp_path, "deconvoy://zfnet-mini"), SilentWatcher())
    before = (tmp_path / "runs" / "f" / "manifest.json").read_bytes()
    assert filters(spec(tmp_path, "deconvoy://zfnet-mini"), SilentWatcher()).already_published
    with pytest.raises(RunError, match="a different spec"):
        filters(spec(tmp_path, "deconvoy://zfnet-mini", "deconvoy://zfnet-mini"), SilentWatcher())
    assert (tmp_path / "runs" / "f" / "manifest.json").read_bytes() == before
    assert json.loads(before)["job"] == "filters"


def test_a_wrong_model_writes_nothing(tmp_path):
    with pytest.raises(ModelError, match="nearest: zfnet"):
        filters(spec(tmp_path / "root", "deconvoy://zfnet-min"), SilentWatcher())
    assert not (tmp_path / "root").exists()
