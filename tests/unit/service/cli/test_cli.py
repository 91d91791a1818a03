"""The command: flags and spec files, one-line errors, exit codes, one JSON value."""

import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from jobs.run.dry import RunPlan
from jobs.run.outcome import Outcome, outcome_of
from service.cli import drawing, running
from service.cli.main import app
from service.cli.running import format_seconds
from service.query.marks import GATED
from tests.support.published import DEAD, publish
from workers.errors import QueryError, RunError, RunStopped
from workers.spec.parts import Method
from workers.spec.scan import RunSpec
from workers.store import documents
from workers.store.manifest import Manifest
from workers.store.root import Root

LEAST = ["--model", "deconvoy://zfnet-mini", "--corpus", "photos", "--root", "root"]


@dataclass(frozen=True)
class Plan:
    """Stands in for a dry run's plan."""

    images: int = 12
    shards_done: int = 3
    device: str = "cpu"
    estimated_bytes: int = 4_000_000
    estimated_table_bytes: int = 2_500_000
    estimated_seconds: float | None = 754.2
    not_measured: str = ""
    passed_over: dict[str, int] = field(default_factory=lambda: {".txt": 3})
    remarks: tuple[str, ...] = ("weights.pth: keys of an old DenseNet checkpoint were renamed",)
    warning: str = "the tables will take about 2.5 MB; --k 3 would reduce this to 1 MB"


@pytest.fixture
def scans(monkeypatch, tmp_path) -> list[RunSpec]:
    """Specs that would have been scanned; the scan itself is a published run made beforehand."""
    asked: list[RunSpec] = []
    publish(Root(str(tmp_path / "published")))

    def scan(spec: RunSpec, watch) -> Outcome:
        asked.append(spec)
        watch.phase("scan", 12, "images")
        watch.advance(12, 1)
        published = documents.read_manifest(Root(str(tmp_path / "published")), "first")
        totals = published.totals.model_copy(update={"listed": 20})
        asked_for = {"totals": totals, "spec": spec.model_dump(mode="json")}
        manifest = Manifest.model_validate(dict(published) | asked_for)
        return outcome_of(manifest, str(tmp_path / "published"), time.monotonic() - 2, images_per_s=6.0)

    def dry_run(spec: RunSpec) -> Plan:
        asked.append(spec)
        return Plan()

    monkeypatch.setitem(sys.modules, "jobs.scan", SimpleNamespace(scan=scan))
    monkeypatch.setitem(sys.modules, "jobs.dry_run", SimpleNamespace(dry_run=dry_run))
    monkeypatch.chdir(tmp_path)
    return asked


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("root")
    publish(Root(str(folder)))
    publish(Root(str(folder)), "newest", "2027-01-01T00:00:00+00:00")
    return str(folder)


def deconvoy(*words: str, code: int = 0):
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == code, (result.output, result.exception)
    return result


def one_line(result) -> str:
    assert result.stderr.startswith("deconvoy: ") and result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def test_every_flag_lands_in_the_spec(scans, tmp_path):
    deconvoy(
        "scan", "--model", "torchvision://resnet18?weights=w/r.safetensors", "--corpus", "photos/*.jpg",
        "--root", "root", "--run", "r1",
        "--layers", "relu*", "--layers", "auto", "--k", "4", "--batch", "8", "--shard", "16",
        "--distinct", "group", "--group", "(.*)/", "--label", "none", "--method", "gradient", "--image-format", "png",
        "--no-previews", "--actors", "3", "--device", "cpu", "--precision", "bfloat16", "--threads", "2",
        "--max-reject-share", "0.5", "--resize", "200", "--crop", "160", "--interpolation", "bicubic",
        "--depth", "12", "--bands", "4,3,2", "--colour", "ignore", "--jpeg", "reduced",
    )  # fmt: skip
    (spec,) = scans
    decode = spec.decode
    assert (decode.depth, decode.bands, decode.colour, decode.jpeg) == ("12", (4, 3, 2), "ignore", "reduced")
    assert spec.model.source == f"torchvision://resnet18?weights={tmp_path}/w/r.safetensors"
    assert (spec.corpus.source, spec.root) == (f"{tmp_path}/photos/*.jpg", f"{tmp_path}/root")
    assert (spec.run, spec.scan.layers, spec.scan.k) == ("r1", ("relu*", "auto"), 4)
    assert (spec.scan.batch, spec.scan.shard, spec.scan.distinct) == (8, 16, "group")
    assert (spec.corpus.group, spec.corpus.label, spec.scan.max_reject_share) == ("(.*)/", "none", 0.5)
    assert (spec.project.method, spec.project.image_format, spec.project.previews) == (Method.GRADIENT, "png", False)
    resources = spec.resources
    assert (resources.actors, resources.device, resources.precision, resources.threads) == (3, "cpu", "bfloat16", 2)
    assert (spec.model.resize, spec.model.crop, spec.model.interpolation) == (200, 160, "bicubic")


def test_every_flag_of_the_network_lands_in_the_spec(scans, tmp_path):
    deconvoy(
        "scan", *LEAST, "--resize", "100,80", "--fit", "letterbox", "--pad", "114", "--crop", "96,64", "--mean", "0.5",
        "--std", "0.25", "--bits", "16", "--classes", "names.txt", "--num-classes", "7",
    )  # fmt: skip
    model = scans[0].model
    assert (model.resize, model.fit, model.pad, model.crop) == ((100, 80), "letterbox", 114, (96, 64))
    assert (model.mean, model.std, model.bits, model.num_classes) == ((0.5,), (0.25,), 16, 7)
    assert model.classes == f"{tmp_path}/names.txt"


def test_filters_reads_its_networks_from_a_file_which_flags_do_not_change(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("two.toml").write_text('root = "r"\n[[models]]\nsource = "deconvoy://zfnet-mini"\ncrop = "none"')
    told = json.loads(deconvoy("filters", "--spec", "two.toml", "--json").stdout)
    assert told["exit_code"] == 0 and Path("r").is_dir()
    line = one_line(deconvoy("filters", "--spec", "two.toml", "--num-classes", "3", code=2))
    assert line == "deconvoy: --num-classes needs --model: flags do not change the models of a spec file\n"


def test_flags_that_are_not_given_leave_the_defaults(scans):
    deconvoy("scan", *LEAST)
    assert scans[0].scan == RunSpec.model_fields["scan"].default
    assert scans[0].resources.actors == "auto" and scans[0].project.previews and scans[0].run is None


def test_urls_and_named_weights_stay_as_they_are(scans):
    deconvoy(
        "scan", "--model", "torchvision://resnet18?weights=IMAGENET1K_V1", "--corpus", "s3://b/x", "--root", "gs://b/y"
    )
    spec = scans[0]
    assert (spec.model.source, spec.corpus.source, spec.root) == (
        "torchvision://resnet18?weights=IMAGENET1K_V1", "s3://b/x", "gs://b/y",
    )  # fmt: skip


def test_a_spec_file_is_relative_to_itself_and_flags_win(scans, tmp_path):
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "run.toml").write_text(
        'root = "r"\n[model]\nsource = "deconvoy://zfnet?weights=w.pt"\n[corpus]\nsource = "c"\n'
        "[scan]\nk = 5\nbatch = 4\n"
    )
    deconvoy("scan", "--spec", "specs/run.toml", "--k", "7", "--root", "mine", "--previews")
    (spec,) = scans
    assert spec.model.source == f"deconvoy://zfnet?weights={tmp_path}/specs/w.pt"
    assert (spec.corpus.source, spec.root) == (f"{tmp_path}/specs/c", f"{tmp_path}/mine")
    assert (spec.scan.k, spec.scan.batch) == (7, 4)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--spec", "gone.toml"], "spec file 'gone.toml' cannot be read"),
        (["--spec", "bad.toml"], "the spec is not valid TOML"),
        ([], "root: missing"),
        ([*LEAST, "--k", "0", "--distinct", "some"], "scan.distinct: 'some' is not valid"),
        ([*LEAST, "--actors", "many"], "resources.actors: 'many' is not valid"),
        ([*LEAST, "--run", "Run 1"], "'Run 1' is not a valid run id"),
    ],
)
def test_a_wrong_spec_is_one_line_and_exit_code_2(scans, tmp_path, words, told):
    (tmp_path / "bad.toml").write_text("root = ")
    assert told in one_line(deconvoy("scan", *words, code=2))
    assert scans == []


@pytest.mark.usefixtures("scans")
def test_the_summary_ends_with_a_command_that_works(tmp_path):
    result = deconvoy("scan", *LEAST)
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert lines["run"] == "first" and lines["images"] == "12" and lines["rejects"] == "1 (1 damaged)"
    assert lines["speed"].startswith("6.0 images/s")
    assert lines["tables"].startswith(f"{tmp_path}/published/tables/*/run=first/ (images ")
    words = lines["view"].split()
    assert words[0] == "deconvoy"
    deconvoy(*words[1:])
    assert Path(words[-1]).stat().st_size > 1000


@pytest.mark.usefixtures("scans")
def test_a_scan_over_the_reject_threshold_is_told_and_exits_3():
    result = deconvoy("scan", *LEAST, "--max-reject-share", "0.01", "--json", code=3)
    assert json.loads(result.stdout)["exit_code"] == 3
    assert (
        "deconvoy: 1 of 20 images was rejected, more than max_reject_share 0.01; the run is published" in result.stderr
    )


@pytest.mark.usefixtures("scans")
def test_json_of_a_scan_is_one_value_and_progress_is_elsewhere():
    result = deconvoy("scan", *LEAST, "--json")
    told = json.loads(result.stdout)
    assert (told["run"], told["images"], told["rejects"]) == ("first", 12, 1)
    assert "scan: 12 images" in result.stderr


def test_a_dry_run_prints_the_plan(scans):
    told = json.loads(deconvoy("scan", *LEAST, "--dry-run", "--json").stdout)
    assert told == {
        "images": 12,
        "shards_done": 3,
        "device": "cpu",
        "estimated_bytes": 4_000_000,
        "estimated_table_bytes": 2_500_000,
        "estimated_seconds": 754.2,
        "not_measured": "",
        "passed_over": {".txt": 3},
        "remarks": list(Plan().remarks),
        "warning": Plan.warning,
    }
    lines = deconvoy("scan", *LEAST, "--dry-run").stdout.splitlines()
    assert [line.split() for line in lines[1:3]] == [["images", "12"], ["shards", "done", "3"]]
    assert [line.rstrip() for line in lines[-5:]] == [
        "estimated size  about 2.5 MB of tables and 1.5 MB of new results",
        "estimated time  about 13 min",
        "passed over     3 .txt",
        *Plan().remarks,
        Plan.warning,
    ]
    assert len(scans) == 2


@pytest.mark.parametrize(
    "command", ["occlude", "invert", "evolve", "sanity", "synthesise", "concepts", "invariance", "correspondence"]
)
def test_every_job_with_actors_has_a_dry_run(command):
    assert "--dry-run" in deconvoy(command, "--help").stdout


@pytest.mark.usefixtures("scans")
def test_the_plan_of_another_job_is_printed_and_nothing_runs(monkeypatch):
    plan = RunPlan("occlude", "first", 1200, ("relu1",), "cpu", 2, "images", 1200, 1500, 300, {".txt": 3})
    monkeypatch.setitem(sys.modules, "jobs.planning", SimpleNamespace(plan_of=lambda *_: plan))
    told = deconvoy("occlude", *LEAST, "--layer", "relu1", "--dry-run").stdout.splitlines()[1:]
    lines = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in told)
    assert lines["to run"] == "1,200 images" and lines["results done"] == "300" and lines["passed over"] == "3 .txt"
    assert lines["layers"] == "relu1" and lines["already published"] == "no" and "unit" not in lines
    told = json.loads(deconvoy("occlude", *LEAST, "--layer", "relu1", "--dry-run", "--json").stdout)
    assert (told["units_to_run"], told["unit"], told["layers"]) == (1200, "images", ["relu1"])


@pytest.mark.usefixtures("scans")
@pytest.mark.parametrize(("size", "left"), [(4_000_000, True), (2_500_000, False)])
def test_a_dry_run_says_when_only_the_second_pass_is_left(monkeypatch, size, left):
    @dataclass(frozen=True)
    class Whole(Plan):
        shards: int = 3
        estimated_bytes: int = size

    monkeypatch.setitem(sys.modules, "jobs.dry_run", SimpleNamespace(dry_run=lambda _: Whole()))
    lines = [" ".join(line.split()) for line in deconvoy("scan", *LEAST, "--dry-run").stdout.splitlines()]
    assert f"shards done 3{'; only the second pass, with the pictures, is left' * left}" in lines


def test_a_dry_run_says_why_it_could_not_measure(monkeypatch):
    why = "the process that measured 32 images ended with code -11"
    unmeasured = replace(Plan(), estimated_seconds=None, not_measured=why)
    monkeypatch.setitem(sys.modules, "jobs.dry_run", SimpleNamespace(dry_run=lambda _: unmeasured))
    lines = [line.rstrip() for line in deconvoy("scan", *LEAST, "--dry-run").stdout.splitlines()]
    assert "estimated time  not measured" in lines and f"not measured    {why}" in lines


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (7.21, "7.2 s"),
        (99, "99 s"),
        (100, "1.7 min"),
        (5999, "100 min"),
        (6000, "1.7 h"),
        (1e6, "12 days"),
        (1e8, "1200 days"),
    ],
)
def test_times_have_two_significant_digits(seconds, text):
    assert format_seconds(seconds) == text


@pytest.mark.usefixtures("scans")
def test_a_dry_run_says_which_depth_its_corpus_has(monkeypatch):
    plan = make_dataclass(
        "Plan", [(each.name, each.type, each) for each in fields(Plan)] + [("depth", str | None, None)]
    )
    for depth in ("12: the largest value in 3 sampled 16-bit grey images is 4,095", None):
        dry_run = SimpleNamespace(dry_run=lambda _, depth=depth: plan(depth=depth))
        monkeypatch.setitem(sys.modules, "jobs.dry_run", dry_run)
        told = json.loads(deconvoy("scan", *LEAST, "--dry-run", "--json").stdout)
        assert told.get("depth") == depth and ("depth" in told) == bool(depth)
        assert ("4,095" in deconvoy("scan", *LEAST, "--dry-run").stdout) == bool(depth)


def failing(monkeypatch, error: BaseException) -> None:
    def scan(*_: object) -> Outcome:
        raise error

    monkeypatch.setitem(sys.modules, "jobs.scan", SimpleNamespace(scan=scan))


def test_errors_of_ours_are_one_line_with_their_exit_code(monkeypatch):
    failing(monkeypatch, RunError("taken;\n  give another --run"))
    assert one_line(deconvoy("scan", *LEAST, code=2)) == "deconvoy: taken;   give another --run\n"
    failing(monkeypatch, RunStopped("the disk is full"))
    assert one_line(deconvoy("scan", *LEAST, code=1)) == "deconvoy: the disk is full\n"


def test_a_cancelled_scan_exits_130_and_says_that_it_goes_on(monkeypatch):
    failing(monkeypatch, KeyboardInterrupt())
    assert one_line(deconvoy("scan", *LEAST, code=130)) == "deconvoy: stopped; the same command resumes the run\n"


def test_an_unexpected_error_is_not_hidden(monkeypatch):
    failing(monkeypatch, ZeroDivisionError("a bug"))
    result = CliRunner().invoke(app, ["scan", *LEAST])
    assert isinstance(result.exception, ZeroDivisionError)
    code = (
        "import sys, types\n"
        "def scan(spec, watch): raise ZeroDivisionError('a bug')\n"
        "sys.modules['jobs.scan'] = types.SimpleNamespace(scan=scan)\n"
        "from service.cli.main import main; main()"
    )
    shown = subprocess.run([sys.executable, "-c", code, "scan", *LEAST], capture_output=True, text=True)
    assert shown.returncode == 1
    assert "Traceback (most recent call last)" in shown.stderr and "ZeroDivisionError: a bug" in shown.stderr
    assert "╭" not in shown.stderr


@pytest.mark.parametrize(
    "words", [["scan", "--nonsense"], ["query", "top", "--root", "r"], ["scan", "--k", "many"], ["nonsense"]]
)
def test_wrong_usage_exits_2(words):
    deconvoy(*words, code=2)


def test_query_top_asks_the_newest_run_or_the_named_one(root):
    rows = json.loads(deconvoy("query", "top", "--root", root, "--layer", "relu2", "--channel", "4", "--json").stdout)
    assert [row["rank"] for row in rows] == list(range(9))
    shown = deconvoy("query", "top", "--root", root, "--run", "first", "--layer", "relu2", "--channel", "4").stdout
    assert len(shown.splitlines()) == 10 and "cat0/004.png" in shown
    line = one_line(
        deconvoy("query", "top", "--root", root, "--run", "frist", "--layer", "l", "--channel", "4", code=2)
    )
    assert "run 'frist' is not published" in line and "nearest: first" in line


def test_query_units_and_image_print_tables_and_json(root):
    rows = json.loads(deconvoy("query", "units", "--root", root, "--layer", "relu1", "--sort", "dead", "--json").stdout)
    assert rows[0]["channel"] == DEAD and rows[0]["dead"] is True
    shown = deconvoy("query", "units", "--root", root, "--layer", "relu1", "--sort", "max", "--limit", "2").stdout
    assert [line.split()[0] for line in shown.splitlines()] == ["channel", "19", "18"]
    rows = json.loads(deconvoy("query", "image", "cat1/003.png", "--root", root, "--json").stdout)
    assert rows[0]["rank"] == 0 and {"layer", "channel", "score", "box_top"} <= rows[0].keys()
    assert "relu3" in deconvoy("query", "image", "cat1/003.png", "--root", root).stdout


def test_query_sheet_writes_a_picture_of_the_channels(root, tmp_path):
    path = tmp_path / "s.png"
    words = ["query", "sheet", "--root", root, "--layer", "relu1", "-o", str(path)]
    told = json.loads(deconvoy(*words, "--channels", "0-3,7", "--json").stdout)
    assert told["channels"] == [0, 1, 2, 3, 7] and path.read_bytes().startswith(b"\x89PNG")
    assert DEAD not in json.loads(deconvoy(*words, "--json").stdout)["channels"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--channels", "3-1"], "'3-1' is not a valid list of channels; use 7, 0-23 or 3,7,40-44"),
        (["--channels", "a"], "is not a valid list of channels"),
        (["--channels", "0-999999999999"], "no channel 999999999999 in the layer; it has 0 to 19"),
        (["-o", "s.jpg"], "is not a PNG file; use a name that ends in .png"),
        (["-o", "nowhere/s.png"], "cannot be written: no folder 'nowhere'"),
    ],
)
def test_a_sheet_that_cannot_be_is_one_line(root, tmp_path, monkeypatch, more, told):
    monkeypatch.chdir(tmp_path)
    assert told in one_line(
        deconvoy("query", "sheet", "--root", root, "--run", "first", "--layer", "relu1", *more, code=2)
    )
    assert list(tmp_path.iterdir()) == []


def test_channels_are_read_as_lists_and_ranges():
    assert drawing.parse_channels("7", 8) == (7,)
    assert drawing.parse_channels("3, 1-2,3", 8) == (3, 1, 2)
    for wrong in ("-3", "9" * 5000):
        with pytest.raises(QueryError):
            drawing.parse_channels(wrong, 8)


def test_a_sheet_of_every_layer_is_drawn_at_once(root, tmp_path):
    drawn = drawing.draw_all(Root(root), "first", tmp_path)
    assert [Path(path).name for path in drawn] == ["relu1.png", "relu2.png", "relu3.png", "fc.png"]
    assert all(Path(path).stat().st_size > 1000 for path in drawn)


def test_the_version_is_printed_without_importing_anything_heavy():
    code = (
        "import sys; from service.cli.main import app; app(['--version'], standalone_mode=False); print(*sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("deconvoy 0.")
    heavy = {"torch", "torchvision", "ray", "jobs", "duckdb", "pyarrow", "PIL", "numpy", "pydantic"}
    assert heavy.isdisjoint(shown.split())


def test_a_query_is_answered_without_importing_anything_heavy(root):
    words = ["deconvoy", "query", "units", "--root", str(root), "--layer", "relu1"]
    code = (
        "import atexit, sys; from service.cli.main import main; atexit.register(lambda: print(*sys.modules)); "
        f"sys.argv = {words!r}; main()"
    )
    *table, modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert table == CliRunner().invoke(app, words[1:]).stdout.splitlines() and len(table) > 3
    assert {"torch", "torchvision", "ray", "jobs", "pandas", "matplotlib"}.isdisjoint(modules.split())


def test_layers_are_listed_with_their_fields(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    where = SimpleNamespace(height=7, width=7, stride_y=2, stride_x=2)
    layer = SimpleNamespace(
        index=1,
        name="relu1",
        kind="rectifier",
        channels=40,
        height=78,
        width=78,
        field=where,
        fields=SimpleNamespace(fields=[where]),
        auto=True,
        gated=True,
        obstacle="sort: aten.sort has no downward step",
    )
    asked = []

    def outline(spec, root):
        asked.append((spec.source, spec.crop, spec.mean, root))
        return SimpleNamespace(layers=(layer,))

    monkeypatch.setitem(sys.modules, "workers.models.model", SimpleNamespace(outline=outline))
    (told,) = json.loads(deconvoy("layers", "deconvoy://zfnet-mini?weights=w.pt", "--json").stdout)
    assert (told["layer"], told["height"], told["field_height"], told["stride_y"], told["auto"]) == (
        "relu1",
        78,
        7,
        2,
        True,
    )
    assert (told["gated"], told["projections"], told["obstacle"]) == (True, False, layer.obstacle)
    shown = deconvoy("layers", "deconvoy://zfnet-mini").stdout
    assert "78 x 78" in shown and shown.splitlines()[-2:] == [GATED, f"No projections, because of {layer.obstacle}."]
    Path("own.toml").write_text('root = "r"\n[model]\nsource = "torchvision://resnet18"\ncrop = "none"\nmean = [0.5]')
    deconvoy("layers", "--spec", "own.toml", "--mean", "0.25")
    deconvoy("layers", "stored://Net@" + "0" * 32, "--root", "/somewhere")
    assert asked == [
        (f"deconvoy://zfnet-mini?weights={Path.cwd()}/w.pt", None, None, None),
        ("deconvoy://zfnet-mini", None, None, None),
        ("torchvision://resnet18", "none", (0.25,), f"{Path.cwd()}/r"),
        ("stored://Net@" + "0" * 32, None, None, "/somewhere"),
    ]


def test_the_flags_before_all_commands_are_few():
    names = {name for each in typer.main.get_command(app).params for name in each.opts}
    assert names == {"--version", "--log-format", "--install-completion", "--show-completion"}


@pytest.mark.parametrize("size", ["9" * 5000, "²", "-1", "0x10", " "])
@pytest.mark.parametrize("words", [("--help",), ("scan", "--help"), ("layers", "deconvoy://none")])
def test_a_size_of_the_terminal_that_is_impossible_is_ignored(words, size):
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": size, "LINES": size})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info


@pytest.mark.parametrize(
    ("run", "stored", "rate", "line"),
    [
        (1, 3, 6.0, "6.0 images/s; 3 of 4 shards were stored already; 2.0 s in total"),
        (4, 0, 6.0, "6.0 images/s; 2.0 s in total"),
        (0, 4, None, "nothing to scan, as all results were stored; 2.0 s in total"),
    ],
)
def test_the_summary_says_how_many_shards_were_stored(tmp_path, capsys, run, stored, rate, line):
    publish(Root(str(tmp_path)))
    counts = {"shards_run": run, "shards_reused": stored, "images_per_s": rate, "seconds": 2.0}
    running.print_outcome(Outcome("first", str(tmp_path), images=12, rejects=1, exit_code=0, **counts))
    assert f"speed       {line}\n" in capsys.readouterr().out
