"""Workers that compute nothing. Takes items of a few kinds, does what they say; importable by Ray's actors."""

import os
import time
from pathlib import Path

from workers.errors import LostActors
from workers.job import Environment
from workers.shard import ShardReport


def environment(node: str = "here", device: str = "fake") -> Environment:
    return Environment("0", "3", "2", "0", "none", device, node)


class Obedient:
    """Does what an item says: sleep, die, fail, or run out of memory."""

    def __init__(self, folder: str = "") -> None:
        self.done = 0
        self.folder = folder

    def check(self) -> Environment:
        return environment()

    def run(self, item):
        if item == "die":
            os._exit(1)
        if item == "die once" and not (mark := Path(self.folder) / "died").exists():
            mark.touch()
            os._exit(1)
        if item == "fail":
            raise LostActors("told to fail")
        if item == "memory":
            raise MemoryError
        time.sleep(0.05)
        return item, os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES")


class Odd(Obedient):
    """Every one of them runs on another device than the others."""

    def check(self) -> Environment:
        return environment(f"node{os.getpid()}", f"device {os.getpid()}")


class Reporting(Obedient):
    """Its every item is a shard of four images, of which one is rejected."""

    def run(self, item):
        return ShardReport(item, 3, {"truncated": 1}, seconds=2.0, wait_s=0.5, store_s=0.25)
