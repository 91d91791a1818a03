"""The short measurement before a scan: what it runs, and that nothing it meets ends the dry run."""

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs import measurement
from jobs.measurement import Measurement, measure, sample_size
from jobs.run import plan
from tests.support import corpora
from workers.actors.job import Job
from workers.core.topk import Rows
from workers.corpus import manifest
from workers.models import model as models
from workers.spec.scan import RunSpec, make_spec
from workers.store.root import Root


def planned(folder: Path, **scan) -> tuple[Job[RunSpec], list[manifest.Row]]:
    """A job of the bundled network, and the rows of twelve photos."""
    corpora.photos(folder / "photos", range(12))
    values = {
        "root": str(folder / "root"),
        "model": {"source": "deconvoy://zfnet-mini"},
        "resources": {"device": "cpu"},
    }
    layers = {"layers": ["relu1", "relu4"], "k": 3, **scan}
    spec = make_spec({**values, "corpus": {"source": str(folder / "photos")}, "scan": layers}).resolved("cpu")
    root = Root(spec.root)
    model = models.load(spec.model, root=root)
    with manifest.list_corpus(spec.corpus, lambda _: None) as listing:
        listed = listing.commit(root)
    job = Job(spec, models.store(model, root), tuple(spec.scan.layers), listed)
    return job, plan.select_rows(root, listed, (), 12)


def test_sizes_and_times_are_measured_layer_by_layer(tmp_path):
    job, rows = planned(tmp_path)
    measured = measure(job, rows)
    assert isinstance(measured, Measurement)
    low, high = (measured.picture_bytes[index] for index in sorted(measured.picture_bytes))
    assert 0 < low < high and measured.preview_bytes > 0 and measured.scan.wall_s > 0
    second = measured.image + measured.row
    assert second.wall_s > 0 and second.cpu_s > 0 and min(measured.row.wall_s, measured.image.cpu_s) >= 0
    assert 0.3 < measured.import_s < 100 and measured.scanner_s >= 0 < measured.projector_s
    assert 0 < measured.byte_s < 1e-3


def test_a_file_that_vanished_is_no_reason_to_fail(tmp_path):
    job, rows = planned(tmp_path)
    for row in rows:
        Path(row.uri).unlink()
    answer = measure(job, rows)
    assert isinstance(answer, str) and answer


def test_without_an_image_nothing_is_measured(tmp_path):
    job, _ = planned(tmp_path)
    assert measure(job, []) == "no sampled image has a readable format"


def answer_sigint(*values: Any) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    values[-1].send("still here")


def answer_bug(*_: object) -> None:
    raise RuntimeError("out of\nmemory")


def test_ctrl_c_ends_the_command_without_a_traceback_of_the_measurement(tmp_path, monkeypatch):
    job, rows = planned(tmp_path)
    monkeypatch.setattr(measurement, "_answer", answer_sigint)
    before = signal.getsignal(signal.SIGINT)
    assert measure(job, rows) == "still here" and signal.getsignal(signal.SIGINT) is before


def test_an_error_of_a_library_is_one_line(tmp_path, monkeypatch):
    job, rows = planned(tmp_path)
    monkeypatch.setattr(measurement, "_measure", answer_bug)
    ours, theirs = multiprocessing.Pipe(duplex=False)
    measurement._answer(job, rows, 0.0, theirs)
    assert ours.recv() == "RuntimeError: out of"


def die(*_: object) -> None:
    os._exit(7)


def hang(*_: object) -> None:
    time.sleep(60)


@pytest.mark.parametrize(
    ("what", "answer"),
    [(die, "the process that measured 12 images ended with code 7"), (hang, "12 images took longer than 5 s")],
)
def test_a_crash_or_a_hang_is_an_answer(what, answer, tmp_path, monkeypatch):
    job, rows = planned(tmp_path)
    monkeypatch.setattr(measurement, "_answer", what)
    monkeypatch.setattr(measurement, "LIMIT_S", 5.0 if what is hang else 60.0)
    assert measure(job, rows) == answer


@pytest.mark.parametrize(("first", "second", "prices"), [
    ((0.3, 2), (1.1, 10), (0.1, 0.1)),  # 0.1 s for the image, and 0.1 s for each of its rows
    ((0.3, 2), (0.2, 10), (0.3, 0.0)),  # noise: rows cannot be faster than nothing
    ((0.3, 3), (0.3, 3), (0.0, 0.1)),  # as many rows: not separable
])  # fmt: skip
def test_images_and_rows_are_priced_apart(first, second, prices):
    assert measurement._prices(*first, *second) == pytest.approx(prices)


def test_large_networks_are_measured_on_fewer_images(tmp_path):
    job, _ = planned(tmp_path)
    network = models.load(job.spec.model).network
    each = network.multiplications(max(layer.node for layer in network.select(job.layers)))
    assert sample_size(network, job, 10_000) == int(np.clip(1e11 / each, 4, 32))
    assert sample_size(network, job, 3) == 3


def test_networks_of_many_layers_have_fewer_rows_of_each_measured():
    layers = np.repeat(np.arange(100), 50)
    rows = Rows.make(layer_index=layers, channel=np.tile(np.arange(50), 100), score=1.0, image_index=0, key=0)
    many, few = measurement._spread(rows, 12), measurement._spread(rows.take(layers < 3), 12)
    assert (len(many), len(np.unique(many.layer_index)), len(few)) == (100, 100, 36)
    assert few.channel[:12].tolist() == [0, 4, 8, 13, 17, 22, 26, 31, 35, 40, 44, 49]
