"""What the results of single images are named by: an image's label, where it decides the class that is followed."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from jobs import invariance, occlude
from tests.support.corpora import photos
from tests.support.fakes import environment
from workers.actors.job import Job
from workers.corpus import manifest
from workers.models import model as models
from workers.spec.invariance import InvarianceRun
from workers.spec.make import make
from workers.spec.occlude import OcclusionRun
from workers.spec.parts import ModelSpec
from workers.store.root import Root

JOBS: dict[str, tuple[Any, Any, dict[str, str]]] = {
    "invariance": (invariance, InvarianceRun, {}),
    "occlude": (occlude, OcclusionRun, {"layer": "relu5"}),
}
both = pytest.mark.parametrize("job", JOBS)


class PlannedError(Exception):
    """Carries a plan out of a job, before anything runs."""


@pytest.fixture(scope="module")
def model() -> models.Model:
    return models.load(ModelSpec(source="deconvoy://zfnet-mini"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("here")
    photos(folder / "cats", range(4))
    return folder


def results(job, folder, model, *, corpus="cats", label="folder", target="label") -> list[str]:
    """The names of the results of three classes' photos, as the job plans them; the model knows class0 and class1."""
    module, kind, about = JOBS[job]
    values = {"root": str(folder / "root"), "model": {"source": "deconvoy://zfnet-mini"},
              "corpus": {"source": str(folder / corpus), "label": label}, job: about | {"target": target}}  # fmt: skip
    spec, root = make(kind, values).resolved("cpu"), Root(str(folder / "root"))
    with manifest.list_corpus(spec.corpus, lambda _: None) as listing:
        committed = listing.commit(root)
    stored = replace(model.stored, class_names=("class0", "class1"))

    def run_shards(_, planned):
        raise PlannedError(planned)

    run = SimpleNamespace(
        start=lambda _: environment(),
        job=Job(spec, stored, ("relu5",), committed),
        root=root,
        model=model,
        run_shards=run_shards,
    )
    with pytest.raises(PlannedError) as told:
        module._work(run)
    return [shard.result for shard in told.value.args[0].shards]


@both
def test_a_result_is_named_by_the_label_that_decides_what_class_is_followed(job, folder, model):
    labelled, unlabelled = results(job, folder, model), results(job, folder, model, label="none")
    assert len(labelled) == 4 and labelled == results(job, folder, model)
    # image 3, of class2, has a label that is no class: the predicted one is followed either way
    assert [a == b for a, b in zip(labelled, unlabelled, strict=True)] == [False, False, False, True]


@both
def test_a_file_that_is_listed_from_its_own_folder_has_no_label_and_another_result(job, folder, model):
    assert results(job, folder, model)[0] != results(job, folder, model, corpus="cats/class0")[0]
    same = [results(job, folder, model, corpus=each, target="1")[0] for each in ("cats", "cats/class0")]
    assert same[0] == same[1]


@both
@pytest.mark.parametrize("target", ["predicted", "1"])
def test_a_label_that_decides_nothing_is_in_no_name(job, folder, model, target):
    assert results(job, folder, model, target=target) == results(job, folder, model, target=target, label="none")
