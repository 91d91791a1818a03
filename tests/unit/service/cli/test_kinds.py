"""Every kind of job is known wherever kinds are told apart: what `workers.kinds.Kind` names is the measure."""

import sys
from types import SimpleNamespace

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from jobs.kinds import PIPELINES, pipeline
from service.atlas.instruments.registry import INSTRUMENTS as PAGES
from service.cli.main import app
from service.cli.running import read_spec
from service.http import bodies
from service.query.findings import TABLE_OF
from service.sheets import boards
from workers.kinds import Kind
from workers.spec.kinds import SPECS

INSTRUMENTS = SPECS.keys() - {"scan"}
OWN = {
    "filters": 'models = [{source = "deconvoy://zfnet-mini"}]'
}  # what tells a spec from others; else a table of its name


def test_every_kind_is_known_wherever_kinds_are_told_apart():
    assert set(Kind) == SPECS.keys() and bodies.Submission.model_fields["job"].annotation is Kind
    assert PIPELINES.keys() == SPECS.keys()
    assert all(callable(pipeline(kind)) for kind in SPECS)
    command = get_command(app)
    assert isinstance(command, TyperGroup) and SPECS.keys() <= command.commands.keys()
    assert TABLE_OF.keys() == PAGES.keys() == boards.BOARDS.keys() == INSTRUMENTS
    assert all(each.note for each in PAGES.values())
    assert all(each.report_pictures or each.report_figure or each.report_units for each in PAGES.values())


@pytest.mark.parametrize("kind", SPECS)
def test_a_spec_file_says_by_its_tables_what_kind_it_is(tmp_path, kind):
    also = "[scan]\nk = 3\n" if kind == "evolve" else ""  # it is a scan too
    (tmp_path / "run.toml").write_text(f'root = "atlas"\n{OWN.get(kind, f"[{kind}]")}\n{also}')
    assert read_spec(tmp_path / "run.toml", None)[0] == kind


WORDS = {"filters": ["--model", "deconvoy://zfnet-mini"], "occlude": ["--layer", "relu1"], "evolve": ["--checkpoints", "a.pt"],
         "sanity": ["--from-run", "first"], "correspondence": ["--parts", "parts.csv"],
         "concepts": ["--from-run", "first", "--encoder", "hf-hub:/clip"]}  # fmt: skip


@pytest.mark.parametrize("kind", SPECS)
def test_what_is_stopped_goes_on_with_the_same_command_if_anything_of_it_is_kept(tmp_path, monkeypatch, kind):
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    module, _, name = PIPELINES[kind].partition(":")
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{name: stopped}))
    monkeypatch.setattr("service.cli.sanity._spec_of_scan", lambda *_: {})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "parts.csv").write_text("image_id,part,top,left,bottom,right\na.png,eye,0,0,9,9\nb.png,eye,0,0,9,9\n")
    rest = [] if kind in {"filters", "concepts"} else ["--model", "deconvoy://zfnet-mini"]
    rest += [] if kind in {"filters", "synthesise", "concepts"} else ["--corpus", "photos"]
    done = CliRunner().invoke(app, [kind, "--root", "root", *rest, *WORDS.get(kind, [])])
    assert done.exit_code == 130, done.stderr
    assert ("resumes the run" in done.stderr) == (kind != "filters")
