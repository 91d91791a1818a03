"""Routes whose functions run in a pool. Takes a pool, gives a class of routes for FastAPI."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from fastapi.routing import APIRoute

from service.pools import CallPool


def route_in(pool: CallPool) -> type[APIRoute]:
    """A class of routes whose plain functions run in a pool; coroutine functions stay on the event loop."""

    class Pooled(APIRoute):
        """A route in a pool."""

        def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:  # noqa: ANN401 - FastAPI's
            super().__init__(path, in_pool(pool, endpoint), **options)

    return Pooled


def in_pool(pool: CallPool, endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """An endpoint that runs in a pool; a coroutine function stays as it is."""
    if inspect.iscoroutinefunction(endpoint):
        return endpoint

    @functools.wraps(endpoint)
    async def answer(*args: Any, **named: Any) -> Any:  # noqa: ANN401 - the endpoint's own type
        return await pool.answer(functools.partial(endpoint, *args, **named))

    return answer
