"""The command `serve`. Takes a root, an address and permissions, serves the atlas and the HTTP API."""

import signal
import socket
import sys
import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.options import RootOption
from service.control.hosts import is_here
from service.pools import CallPool
from workers.errors import Unavailable, UsageError
from workers.host import log
from workers.host.log import Log
from workers.store.root import Root, existing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from service.control.schedules import Schedules
    from service.control.submissions import Submissions
    from service.control.timetable import Fire

EVERY_S = 20.0  # between looks for due schedules
ENDING_S = 10.0  # limit of each step of a shutdown


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
        typer.Option(help="Prefix (folder or URL) below which submitted runs may read files. Repeatable."),
    ] = None,
    per_minute: Annotated[
        int, typer.Option(min=1, help="Maximum number of requests per minute from one key or address.")
    ] = 60_000,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            help="Address or network of a proxy whose X-Forwarded-For, -Proto and -Prefix headers are trusted. Repeatable."
        ),
    ] = None,
    root_path: Annotated[str, typer.Option(help="Path below which a proxy serves the atlas, such as /deconvoy.")] = "",
    embed: Annotated[
        list[str] | None,
        typer.Option(
            help="Site that may show cards of channels in frames, such as https://blog.example, or * for all. Repeatable."
        ),
    ] = None,
) -> None:
    """Serve the atlas and the HTTP API. Append .json to the path of a page to get its data; the home page has /index.json."""
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
    from service.http.guards import require_sites
    from service.http.keys import Keys
    from service.http.places import Allowed

    store = require_keys(root, host)
    allowed, sites = Allowed(tuple(allow or ())), require_sites(embed or ())
    rules = Rules(per_minute, keyless=is_here(host) and not Keys(store))
    with listen(host, port) as (listener, url):
        cluster = RayCluster(address) if address else LocalCluster()
        submissions = Submissions(store, cluster)
        schedules = Schedules(store, submissions)
        watched = Watched(Statuses(store, PromptCluster(cluster)))
        control = web.Control(submissions, schedules, allowed, watched)
        app = web.create(store, originals=originals, control=control, rules=rules, embed=sites)
        server = uvicorn.Server(config(app, trusted_proxy or (), root_path))
        typer.echo(f"the atlas is at {url}")
        with exit_on_sigterm(), cluster, nullcontext() if address else cancel_at_end(submissions), scheduler(schedules):
            server.run(sockets=[listener])


def require_keys(root: str, host: str) -> Root:
    """The root, if it may be served at an address.

    Raises:
        UsageError: the root does not exist, or it has no keys and other machines can reach the address.
    """
    from service.http.keys import Keys

    store = existing(root)
    if not is_here(host) and not Keys(store):
        way_out = f"create one with `deconvoy keys add NAME --root {root}`"
        raise UsageError(f"other machines can reach {host}, and this root has no keys: {way_out}")
    return store


@contextmanager
def listen(host: str, port: int) -> "Iterator[tuple[socket.socket, str]]":
    """A socket that listens, and its URL.

    Raises:
        UsageError: the address is not available.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise UsageError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    with listener:
        yield listener, f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}/"


@contextmanager
def exit_on_sigterm() -> "Iterator[None]":
    """Make SIGTERM end the block like an exception; uvicorn raises it again when it ends, which would kill the process."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def cancel_at_end(submissions: "Submissions") -> "Iterator[None]":
    """Cancel, at the end of the block, the runs whose Ray ends with this process; they would look alive otherwise."""
    try:
        yield
    finally:
        try:
            cancelled = CallPool("the store or Ray", 1, ENDING_S).ask(submissions.cancel_all)
        except Unavailable as error:
            Log().say(f"runs on this service's own Ray were not cancelled: {error}", log.WARNING)
        else:
            if cancelled:
                runs = ", ".join(cancelled)
                why = "because this service is stopping its Ray; submit again to resume"
                Log().say(f"cancelled {runs}, {why}", log.WARNING)


@contextmanager
def scheduler(schedules: "Schedules") -> "Iterator[None]":
    """Submit due runs in a thread until the end of the block."""
    ended = threading.Event()

    def tick() -> None:
        fires: Sequence[Fire] = ()
        while not ended.wait(EVERY_S):
            fires = try_to_submit_due(schedules, fires)

    thread = threading.Thread(target=tick, name="schedules", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(ENDING_S)  # a store that hangs must not block the shutdown


def submit_due(schedules: "Schedules", before: "Sequence[Fire]" = ()) -> "Sequence[Fire]":
    """Submit due runs, and log the fires that the previous call, which returned `before`, has not logged."""
    fires = schedules.tick()
    for fire in fires:
        if fire not in before:
            Log().say(fire.summary, log.WARNING if fire.error else log.INFO, run=fire.run)
    return fires


def try_to_submit_due(schedules: "Schedules", before: "Sequence[Fire]" = ()) -> "Sequence[Fire]":
    """As `submit_due`, for callers in a loop: a failure of the store is logged and tried again by the next call."""
    try:
        return submit_due(schedules, before)
    except Exception as error:  # noqa: BLE001 - the loop must go on
        Log().say(f"schedules: {type(error).__name__}: {error}", log.ERROR, error=error)
        return before
