"""The processors that a process may use, on machines and in containers."""

import os

import pytest

from workers.actors import device
from workers.host import processors
from workers.spec.parts import ResourcesSpec


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.setattr(processors, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(processors, "GPUS", tmp_path / "gpus")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(128)), raising=False)
    monkeypatch.delenv("NVIDIA_VISIBLE_DEVICES", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000", 128), ("800000 100000", 8), ("50000 100000", 1), ("?", 128)]
)
def test_a_quota_limits_the_cpus(machine, quota, expected):
    assert processors.cpus() == 128
    (machine / "cpu.max").write_text(quota)
    assert processors.cpus() == expected


def test_gpus_are_those_of_the_container_or_else_of_the_machine(machine, monkeypatch):
    assert processors.gpus() == 1
    for number in range(8):
        (machine / "gpus" / f"0000:0{number}:00.0").mkdir(parents=True)
    assert processors.gpus() == 8
    for given, expected in (("all", 8), ("void", 8), ("GPU-a,GPU-b", 2), ("0", 1)):
        monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", given)
        assert processors.gpus() == expected


@pytest.mark.parametrize(
    ("gpus", "cpus", "readers", "expected"),
    [
        (8, 128, "auto", 15),
        (1, 128, "auto", 16),
        (1, 8, "auto", 7),
        (4, 4, "auto", 1),
        (1, 1, "auto", 1),
        (8, 8, 3, 3),
        (1, 8, 0, 0),
    ],
)
def test_an_actor_on_a_gpu_reads_in_its_share_of_the_cpus(monkeypatch, gpus, cpus, readers, expected):
    monkeypatch.setattr(processors, "gpus", lambda: gpus)
    monkeypatch.setattr(processors, "cpus", lambda: cpus)
    assert device.reader_count(ResourcesSpec(device="cuda", readers=readers)) == expected


def test_an_actor_on_a_cpu_reads_in_a_thread_unless_it_is_told_otherwise():
    assert device.reader_count(ResourcesSpec(device="cpu")) == 0
    assert device.reader_count(ResourcesSpec(device="cpu", readers=2)) == 2
