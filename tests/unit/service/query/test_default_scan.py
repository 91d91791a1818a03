"""The default scan of a root: queries, notes and the Python API use it, and say so; one that is gone is an error."""

import json

import pytest
from typer.testing import CliRunner

from service.cli.main import app
from service.query import catalog
from tests.support import instrumented
from tests.support.published import publish
from workers.errors import DamagedFile, RunError
from workers.store import paths
from workers.store.root import Root


@pytest.fixture
def root(tmp_path) -> Root:
    root = Root(str(tmp_path))
    publish(root)
    publish(root, "second", "2026-11-24T02:00:00+00:00")
    instrumented.occlude(root)
    return root


def run(*words: str, root: Root, code: int = 0):
    done = CliRunner().invoke(app, [*words, "--root", root.url])
    assert done.exit_code == code, (done.output, done.exception)
    return done


def test_it_is_the_newest_scan_until_one_is_set_and_again_when_it_is_cleared(root):
    query = ("query", "units", "--layer", "relu1", "--json")
    assert "run second, the newest of 2 runs" in run(*query, root=root).stderr
    assert run("default", root=root).stdout == "the default is the newest scan\n"
    assert run("default", "first", root=root).stdout == "the default is run first\n"
    assert json.loads(run("default", "--json", root=root).stdout) == {"default": "first"}
    asked = run(*query, root=root)
    assert asked.stderr == "run first, the root's default; --run selects another\n"
    assert run(*query, "--run", "second", root=root).stderr == ""
    assert catalog.find(root).run == "first"
    assert json.loads(run("note", "relu1", "3", "ears", "--json", root=root).stdout)["run"] == "first"
    assert run("default", "--clear", root=root).stdout == "the default is the newest scan\n"
    assert catalog.find(root).run == "second"


def test_queries_of_runs_of_other_kinds_do_not_use_it(root):
    run("default", "first", root=root)
    assert catalog.find(root, None, "occlude").job == "occlude"
    assert catalog.find(root, None, None).run == max(catalog.runs(root), key=lambda run: run.created).run


def test_only_a_published_scan_can_be_set(root):
    for name, reason in {"third": "is not published", "covered": "expected 'scan'", "A b": "run id"}.items():
        assert reason in run("default", name, root=root, code=2).stderr
    assert "cannot be used together" in run("default", "first", "--clear", root=root, code=2).stderr
    assert not root.exists(paths.DEFAULT_SCAN)


def test_it_is_never_removed(root):
    run("default", "first", root=root)
    line = run("rm", "first", root=root, code=2).stderr
    assert "run 'first' is the default of the root; first set another with `deconvoy default RUN`" in line
    run("default", "--clear", root=root)
    run("rm", "first", root=root)
    assert [scan.run for scan in catalog.of_kind(root, "scan")] == ["second"]


def test_one_that_is_gone_is_an_error_with_the_way_out(root):
    run("default", "second", root=root)
    root.delete(paths.manifest_path("second"))
    for words in (("query", "units", "--layer", "relu1"), ("note", "relu1", "3", "ears"), ("default",)):
        line = run(*words, root=root, code=2).stderr
        assert "the root's default scan cannot be used: run 'second' is not published" in line
        assert "deconvoy default --clear" in line


def test_it_is_not_named_if_there_is_no_other_scan(root):
    run("default", "first", root=root)
    run("rm", "second", root=root)
    assert run("query", "units", "--layer", "relu1", "--json", root=root).stderr == ""


def test_a_root_that_is_a_file_has_none(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="has no published runs"):
        catalog.find(Root(str(tmp_path / "file")))


def test_a_damaged_file_is_named(root):
    root.put(paths.DEFAULT_SCAN, b"{")
    with pytest.raises(
        DamagedFile, match=r"defaults/scan\.json cannot be parsed: .*; set it again with `deconvoy default"
    ):
        catalog.find(root)
    run("default", "first", root=root)
    assert catalog.find(root).run == "first"
