"""Coroutines in tests. Takes one, runs it on an event loop of a thread of its own, gives its result.

Playwright keeps an event loop running in the main thread for as long as its browser is open.
"""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()
