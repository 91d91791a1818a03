"""A process that was started ends with the one that started it, even if that is killed."""

import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import Connection

import psutil

from workers.host.parent import end_with_parent

SPAWN = multiprocessing.get_context("spawn")


def live(pids: Connection) -> None:
    end_with_parent()
    pids.send(os.getpid())
    time.sleep(300)


def start_and_die(pids: Connection) -> None:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    SPAWN.Process(target=live, args=(theirs,)).start()
    pids.send(ours.recv())
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_ends_with_the_killed_one_that_started_it():
    ours, theirs = multiprocessing.Pipe(duplex=False)
    SPAWN.Process(target=start_and_die, args=(theirs,)).start()
    child = psutil.Process(ours.recv())
    assert psutil.wait_procs([child], timeout=30)[0] == [child]


def test_a_process_that_nothing_started_waits_for_nothing():
    before = threading.active_count()
    end_with_parent()
    assert threading.active_count() == before
