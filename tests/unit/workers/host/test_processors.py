"""The processors that a process may use, on machines and in containers."""

import os

import pytest

from workers.actors import device
from workers.host import processors
from workers.spec.parts import ResourcesSpec


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.setattr(processors, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(128)), raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000", 128), ("800000 100000", 8), ("50000 100000", 1), ("?", 128)]
)
def test_a_quota_limits_the_cpus(machine, quota, expected):
    assert processors.cpus() == 128
    (machine / "cpu.max").write_text(quota)
    assert processors.cpus() == expected


@pytest.mark.parametrize(
    ("actors", "cpus", "readers", "expected"),
    [(8, 128, "auto", 15), (1, 128, "auto", 16), (0, 8, "auto", 7), (4, 4, "auto", 1), (1, 1, "auto", 1), (8, 8, 3, 3)],
)
def test_an_actor_on_a_gpu_reads_in_its_share_of_the_cpus(monkeypatch, actors, cpus, readers, expected):
    monkeypatch.setattr(processors, "_sharers", 1)
    monkeypatch.setattr(processors, "cpus", lambda: cpus)
    processors.share_with(actors)
    assert device.reader_count(ResourcesSpec(device="cuda", readers=readers)) == expected


def test_an_actor_on_a_cpu_reads_in_a_thread_unless_it_is_told_otherwise():
    assert device.reader_count(ResourcesSpec(device="cpu")) == 0
    assert device.reader_count(ResourcesSpec(device="cpu", readers=2)) == 2
