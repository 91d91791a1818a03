"""The atlas under load: many readers of channel pages at once, and a wall of 2,048 channels in a browser.

Server and readers share this machine. A reader asks for the page of a random channel, again and again; the time of an answer
is what it waits. The wall is opened in headless Chromium with an empty cache; its first picture counts when it is decoded.
"""

import argparse
import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import time

import httpx2

from tests.support import benchmarking, browsers
from tests.support.published import CHANNELS, publish
from workers.store.root import Root

WIDE = 2048
GOAL_MS, GOAL_FIRST_S = 300.0, 1.0
PORT = 8765


async def read(client: httpx2.AsyncClient, number: int, until: float) -> tuple[list[float], int]:
    """One reader: waits in ms, and answers that were not 200."""
    chooser, waits, wrong = random.Random(number), [], 0
    while time.perf_counter() < until:
        started = time.perf_counter()
        answer = await client.get(f"/runs/wide/layers/relu1/channels/{chooser.randrange(WIDE)}")
        waits.append(1000 * (time.perf_counter() - started))
        wrong += answer.status_code != 200
    return waits, wrong


async def load(address: str, readers: int, seconds: float) -> None:
    """Let readers ask for some time and print how long they waited."""
    limits = httpx2.Limits(max_connections=readers, max_keepalive_connections=readers)
    async with httpx2.AsyncClient(base_url=address, limits=limits, timeout=60) as client:
        await client.get("/runs/wide/layers/relu1/channels/0")
        until = time.perf_counter() + seconds
        told = await asyncio.gather(*(read(client, number, until) for number in range(readers)))
    waits = sorted(wait for each, _ in told for wait in each)
    p95 = waits[int(0.95 * len(waits))]
    print(
        f"{readers} readers of channel pages: {len(waits) / seconds:.0f} pages/s, median {statistics.median(waits):.0f} ms, "
        f"p95 {p95:.0f} ms (goal {GOAL_MS:g}), {sum(wrong for _, wrong in told)} errors"
    )


def wall(address: str, rounds: int) -> None:
    """Time the first picture of the wall, and its scrolling to the end."""
    firsts, lasts = [], []
    with browsers.launched() as browser:
        for _ in range(rounds):
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            page = context.new_page()
            started = time.perf_counter()
            page.goto(f"{address}/runs/wide/layers/relu1", wait_until="commit")
            page.locator(".wall img").first.evaluate("e => e.decode()")
            firsts.append(time.perf_counter() - started)
            started = time.perf_counter()
            page.locator(".wall img").last.scroll_into_view_if_needed()
            page.locator(".wall img").last.evaluate("e => e.decode()")
            lasts.append(time.perf_counter() - started)
            context.close()
    print(
        f"a wall of {WIDE:,} channels: first picture after {benchmarking.spread(firsts)} s (goal {GOAL_FIRST_S:g}), "
        f"scrolled to its last after {benchmarking.spread(lasts)} s"
    )


def main() -> None:
    """Serve a run, load it, look at it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        publish(Root(scratch), "wide", channels=CHANNELS | {"relu1": WIDE})
        serve = "import sys; from service.cli.main import main; main()"
        words = ["serve", "--root", scratch, "--port", str(PORT)]
        server = subprocess.Popen([sys.executable, "-c", serve, *words], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split()[-1].rstrip("/")
            time.sleep(2)
            if browsers.found():
                wall(address, asked.rounds)
            asyncio.run(load(address, asked.readers, asked.seconds))
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
