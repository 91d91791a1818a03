"""A clock that stands still while its process does."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from workers.host.steady import SteadyClock


def test_time_between_readings_is_counted_up_to_the_cap():
    times = iter([100.0, 100.5, 102.0, 150.0, 151.0])
    clock = SteadyClock(cap_s=2.0, now=lambda: next(times))
    assert [clock() for _ in range(4)] == [0.5, 2.0, 4.0, 5.0]


def test_it_never_runs_backwards_whatever_thread_reads_it():
    clock = SteadyClock()
    with ThreadPoolExecutor(4) as pool:
        readings = list(pool.map(lambda _: [clock() for _ in range(200)], range(4)))
    assert all(each == sorted(each) for each in readings)


STOPPED = """
import time
from workers.host.steady import SteadyClock
clock, started = SteadyClock(cap_s=0.3), time.monotonic()
print("ready", flush=True)
while time.monotonic() - started < 2.2:
    time.sleep(0.02)
    clock()
print(clock(), flush=True)
"""


def test_time_in_which_the_process_is_stopped_is_not_counted():
    child = subprocess.Popen([sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    os.kill(child.pid, signal.SIGSTOP)
    time.sleep(1.5)
    os.kill(child.pid, signal.SIGCONT)
    assert float(child.communicate(timeout=30)[0]) < 1.6
