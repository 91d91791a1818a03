"""How much memory there is, against the counters of the operating system and of a container."""

import numpy as np
import psutil

from workers.host import memory
from workers.host.memory import Memory


def test_memory_that_this_process_takes_is_counted():
    before = memory.now()
    taken = np.ones(50_000_000, np.float64)  # 400 MB, every page written
    after = memory.now()
    assert 380e6 < after.used - before.used < 500e6 and len(taken)
    assert 0 < after.free < after.total <= psutil.virtual_memory().total


def test_the_limit_of_a_container_counts_without_files_that_the_kernel_can_drop(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("1000000000\n")
    (tmp_path / "memory.current").write_text("900000000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 300000000\n")
    assert (memory.now().free, memory.now().total) == (400_000_000, 1_000_000_000)
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.now().total == psutil.virtual_memory().total


def test_memory_reads_as_a_phrase():
    assert str(Memory(1_900_000_000, 300_000_000, 24_000_000_000)) == (
        "this process used 1.9 GB, and 0.3 of 24.0 GB were free"
    )
