"""Workers that compute nothing. Takes items of a few kinds, does what they say; importable by Ray's actors."""

import os
import signal
import time
from pathlib import Path

from workers.actors.environment import Environment
from workers.actors.reports import ShardReport
from workers.errors import DecoderHang, LostActors


def environment(node: str = "here", device: str = "fake") -> Environment:
    return Environment("0", "3", "2", "0", "none", device, node)


class Obedient:
    """Does what an item says: sleep, die, fail, or run out of memory; `die 3` dies the first three times."""

    def __init__(self, folder: str = "") -> None:
        self.done = 0
        self.folder = folder

    def check(self) -> Environment:
        return environment()

    def run(self, item):
        word, _, times = str(item).partition(" ")
        if word in self.DEEDS and self.is_to_be_done(word, times):
            self.DEEDS[word]()
        time.sleep(0.05)
        return item, os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES")

    def is_to_be_done(self, word: str, times: str) -> bool:
        """Always, or the first so many times, counted by files, since an actor that dies forgets."""
        if not times:
            return True
        for number in range(int(times)):
            try:
                (Path(self.folder) / f"{word}-{number}").touch(exist_ok=False)
                return True
            except FileExistsError:
                continue
        return False

    @staticmethod
    def fail() -> None:
        raise LostActors("told to fail")

    @staticmethod
    def memory() -> None:
        raise MemoryError

    @staticmethod
    def hang() -> None:
        raise DecoderHang(0)

    DEEDS = {  # noqa: RUF012
        "die": lambda: os._exit(1),
        "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
        "sleep": lambda: time.sleep(30),
        "fail": fail,
        "memory": memory,
        "hang": hang,
    }


class Odd(Obedient):
    """Every one of them runs on another device than the others."""

    def check(self) -> Environment:
        return environment(f"node{os.getpid()}", f"device {os.getpid()}")


class Reporting(Obedient):
    """Its every item is a shard of four images, of which one is rejected."""

    def run(self, item):
        return ShardReport(item, 3, {"truncated": 1}, seconds=2.0, wait_s=0.5, store_s=0.25)
