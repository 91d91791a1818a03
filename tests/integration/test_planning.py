"""The plan of any job: what it says comes true when the job runs, and the root keeps its bytes."""

from pathlib import Path
from typing import Any

import pytest

from jobs.invert import invert
from jobs.occlude import occlude
from jobs.planning import plan_of
from jobs.sanity import sanity
from jobs.scan import scan
from jobs.synthesise import synthesise
from jobs.watch import SilentWatcher
from tests.support import corpora
from tests.support.in_process import here
from workers.errors import RunError, SpecError, UnknownLayerError
from workers.spec.invert import InversionRun
from workers.spec.make import make
from workers.spec.occlude import OcclusionRun
from workers.spec.sanity import SanityRun
from workers.spec.scan import RunSpec
from workers.spec.synthesise import SynthesisRun

INVERT = {"layers": ["relu1", "relu2"], "sample": 2, "restarts": 2, "iterations": 2, "batch": 3}
PLANS: dict[str, tuple[Any, Any, dict[str, Any], str, int, int | None]] = {
    "occlude": (OcclusionRun, occlude, {"layer": "relu1", "sample": 2, "size": 80, "stride": 80}, "images", 2, 2),
    "invert": (InversionRun, invert, INVERT, "inversions", 8, 2),
    "synthesise": (SynthesisRun, synthesise, {"layers": ["relu1"], "channels": [0, 5, 9], "steps": 2}, "channels", 3, None),
    "sanity": (SanityRun, sanity, {"from_run": "scan", "layers": ["relu1"], "channels": [0], "ranks": 2}, "images", 2, 2),
}  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    corpora.photos(folder, range(6))
    return folder


def made(kind, photos: Path, root: Path, run: str, **section):
    values = {
        "run": run,
        "root": str(root),
        "model": {"source": "deconvoy://zfnet-mini"},
        "resources": {"device": "cpu"},
    }
    corpus = {"corpus": {"source": str(photos)}} if kind is not SynthesisRun else {}
    return make(kind, {**values, **corpus, **section})


def content(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def no_ray(*_: object) -> None:
    raise AssertionError("a plan starts no Ray")


@pytest.mark.parametrize("job", PLANS)
def test_what_a_plan_says_comes_true(job, photos, tmp_path, monkeypatch):
    kind, run, section, unit, amount, images = PLANS[job]
    root = tmp_path / "root"
    if job == "sanity":
        few = {"scan": {"layers": ["relu1"], "k": 2}}
        here(scan)(made(RunSpec, photos, root, "scan", **few), SilentWatcher())
    monkeypatch.setattr("jobs.ray.cluster.start", no_ray)
    before = content(root)
    planned = plan_of(made(kind, photos, root, "first", **{job: section}), run)
    assert (planned.job, planned.run, planned.unit, planned.units_to_run) == (job, "first", unit, amount)
    assert (planned.images, planned.results_done, planned.already_published) == (images, 0, False)
    assert planned.layers == tuple(section.get("layers", ["relu1"]))
    assert content(root) == before and root.exists() == bool(before)

    spec = made(kind, photos, root, "first", **{job: section})
    outcome = here(run)(spec, SilentWatcher())
    assert planned.results == outcome.shards_run
    after = content(root)
    again = plan_of(made(kind, photos, root, "second", **{job: section}), run)
    assert (again.results, again.results_done, again.units_to_run) == (planned.results, planned.results, 0)
    done = plan_of(spec, run)
    assert done.already_published and (done.units_to_run, done.layers) == (0, planned.layers)
    (root / "runs/first/manifest.json").rename(root / "runs/first/claim.json")  # as if its publisher had been killed
    for place in [path for path in root.glob("tables/*/run=first/*") if "runs" not in path.relative_to(root).parts]:
        staged = root / "runs/first/staged" / place.parts[-3] / place.name
        staged.parent.mkdir(parents=True, exist_ok=True)
        place.rename(staged)
    interrupted = content(root)
    assert plan_of(spec, run) == done and content(root) == interrupted
    here(run)(spec, SilentWatcher())
    with pytest.raises(RunError, match="a different spec"):
        plan_of(made(kind, photos, root, "first", **{job: {**section, **other(job)}}), run)
    assert content(root) == after


def other(job: str) -> dict[str, int]:
    return {"occlude": {"stride": 40}, "sanity": {"ranks": 1}}.get(job, {"seed": 7})


def test_a_larger_sample_reuses_what_a_smaller_one_has(photos, tmp_path):
    square = {"layer": "relu1", "size": 80, "stride": 80}
    here(occlude)(made(OcclusionRun, photos, tmp_path, "few", occlude={**square, "sample": 2}), SilentWatcher())
    planned = plan_of(made(OcclusionRun, photos, tmp_path, "more", occlude={**square, "sample": 5}), occlude)
    assert (planned.results, planned.results_done, planned.units_to_run) == (5, 2, 3)


def test_a_plan_refuses_what_the_job_refuses(photos, tmp_path):
    with pytest.raises(UnknownLayerError, match="nope"):
        plan_of(made(OcclusionRun, photos, tmp_path / "root", "a", occlude={"layer": "nope"}), occlude)
    with pytest.raises(SpecError, match=r"occlude\.size"):
        plan_of(made(OcclusionRun, photos, tmp_path / "root", "a", occlude={"layer": "relu1", "size": 900}), occlude)
    assert not (tmp_path / "root").exists()


def test_without_the_device_of_the_run_a_plan_does_not_say_what_is_done(photos, tmp_path, monkeypatch):
    square = {"layer": "relu1", "sample": 2, "size": 80, "stride": 80}
    monkeypatch.setattr("jobs.ray.cluster.resolve_device", lambda _: "cuda")
    monkeypatch.setattr("jobs.ray.cluster.expected_actors", lambda *_: 3)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    planned = plan_of(made(OcclusionRun, photos, tmp_path, "a", occlude=square), occlude)
    assert (planned.device, planned.actors, planned.results_done, planned.units_to_run) == ("cuda", 3, None, None)
