"""The command `serve`. Takes an address to listen on and what is allowed; serves the atlas and the control plane."""

import signal
import socket
import sys
import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.options import RootOption
from service.control.hosts import is_here
from service.pools import Pool
from workers.errors import Unavailable, UsageError
from workers.host import log
from workers.host.log import Log
from workers.store.root import Root, existing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from service.control.schedules import Schedules
    from service.control.submissions import Submissions
    from service.control.timetable import Fire

EVERY_S = 20.0
ENDING_S = 10.0


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)


def serve(  # noqa: PLR0913 - one parameter per flag
    *,
    root: RootOption,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    originals: Annotated[
        bool, typer.Option("--originals", help="Serve original images of the corpora instead of small copies.")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(
            "--address", envvar="DECONVOY_ADDRESS", help="URL of a Ray dashboard; by default a local Ray is started."
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="Folder or URL prefix of corpora that may be submitted. Repeatable."),
    ] = None,
    per_minute: Annotated[
        int, typer.Option(min=1, help="Largest number of requests per minute of one key or address.")
    ] = 60_000,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(help="Address or network of a proxy whose X-Forwarded-For header is trusted. Repeatable."),
    ] = None,
) -> None:
    """Serve the atlas and the HTTP API. Each page's data is at the same path + .json."""
    import uvicorn

    from service.control.clusters import LocalCluster, RayCluster
    from service.control.prompt import PromptCluster
    from service.control.schedules import Schedules
    from service.control.statuses import Statuses
    from service.control.submissions import Submissions
    from service.control.watching import Watched
    from service.http import app as web
    from service.http.access import Rules
    from service.http.connections import config
    from service.http.keys import Keys
    from service.http.places import Allowed

    place = checked(root, host)
    allowed = Allowed(tuple(allow or ()))
    rules = Rules(per_minute, keyless=is_here(host) and not Keys(place))
    with listening(host, port) as (there, shown):
        cluster = RayCluster(address) if address else LocalCluster()
        submissions = Submissions(place, cluster)
        schedules = Schedules(place, submissions)
        watched = Watched(Statuses(place, PromptCluster(cluster)))
        control = web.Control(submissions, schedules, allowed, watched)
        app = web.create(place, originals=originals, control=control, rules=rules)
        server = uvicorn.Server(config(app, trusted_proxy or ()))
        typer.echo(f"the atlas is at {shown}")
        with in_order(), cluster, nullcontext() if address else letting_go(submissions), ticking(schedules):
            server.run(sockets=[there])


def checked(root: str, host: str) -> Root:
    """The root, if it may be served at an address.

    Raises:
        UsageError: it does not exist, or has no keys and others could reach it.
    """
    from service.http.keys import Keys

    place = existing(root)
    if not is_here(host) and not Keys(place):
        raise UsageError(
            f"{host} can be reached by others, and this root has no keys: make one with `deconvoy keys add NAME --root {root}`"
        )
    return place


@contextmanager
def listening(host: str, port: int) -> "Iterator[tuple[socket.socket, str]]":
    """A socket that listens, and its address as one types it.

    Raises:
        UsageError: it cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise UsageError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    with listener:
        yield listener, f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}/"


@contextmanager
def in_order() -> "Iterator[None]":
    """Have SIGTERM end the block as an error would: uvicorn raises it again once it has ended, which kills the process."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def letting_go(submissions: "Submissions") -> "Iterator[None]":
    """At the end of the block cancel the runs whose Ray ends with this process, so that they do not look alive."""
    try:
        yield
    finally:
        try:
            cancelled = Pool("their store or their Ray", 1, ENDING_S).ask(submissions.cancel_all)
        except Unavailable as error:
            Log().say(f"the runs on the Ray of this service end without being cancelled: {error}", log.WARNING)
        else:
            if cancelled:
                line = f"cancelled with the Ray of this service: {', '.join(cancelled)}; submit again to resume"
                Log().say(line, log.WARNING)


@contextmanager
def ticking(schedules: "Schedules") -> "Iterator[None]":
    """Submit what is due, beside everything else, until the end of the block."""
    ended = threading.Event()

    def tick() -> None:
        fires: Sequence[Fire] = ()
        while not ended.wait(EVERY_S):
            fires = look_again(schedules, fires)

    thread = threading.Thread(target=tick, name="schedules", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(ENDING_S)  # a store that hangs does not keep the service from ending


def look(schedules: "Schedules", before: "Sequence[Fire]" = ()) -> "Sequence[Fire]":
    """Submit what is due, and log what has been fired, is refused or waits, unless the look before has logged it."""
    fires = schedules.tick()
    for fire in fires:
        if fire not in before:
            Log().say(fire.summary, log.WARNING if fire.error else log.INFO, run=fire.run)
    return fires


def look_again(schedules: "Schedules", before: "Sequence[Fire]" = ()) -> "Sequence[Fire]":
    """As `look`, for callers that look again: a store that fails is logged, and may work then."""
    try:
        return look(schedules, before)
    except Exception as error:  # noqa: BLE001 - stores raise what they like
        Log().say(f"schedules: {type(error).__name__}: {error}", log.ERROR, error=error)
        return before
