"""Paths of the atlas's pages and pictures. Takes runs, layers, channels and images, gives paths with quoted names."""

from typing import Literal
from urllib.parse import quote, urlencode

from service.query.catalog import PublishedRun
from service.query.scans import View
from workers.store.facts import LayerFacts

API = "/api/v1"
SCHEDULES = "/schedules"
Kind = Literal["patch", "projection"]
KINDS: tuple[Kind, ...] = ("patch", "projection")
VIEWS: tuple[View, ...] = ("filled", "exact")  # of fields that leave the input
SHOWN = 9  # top images of a channel that the atlas shows; a scan may keep more


def run(published: PublishedRun, start: int = 0) -> str:
    """The page of a run; of an instrument's run, from item `start` on."""
    return f"/runs/{published.run}{_start(start)}"


def layer(published: PublishedRun, name: str, **query: str) -> str:
    """The page of a layer, with the query of its form."""
    return f"{run(published)}/layers/{quote(name, safe='')}" + (f"?{urlencode(query)}" if query else "")


def channel(published: PublishedRun, name: str, number: int, view: str = "filled") -> str:
    """The page of a channel."""
    return f"{layer(published, name)}/channels/{number}" + ("" if view == "filled" else f"?view={view}")


def image(published: PublishedRun, image_id: str) -> str:
    """The page of an image; its id is in the query, since in a path it could lead elsewhere."""
    return f"{run(published)}/image?{urlencode({'id': image_id})}"


def label(published: PublishedRun, name: str) -> str:
    """The page of the channels whose top images share a label."""
    return f"{run(published)}/label?{urlencode({'name': name})}"


def labels(published: PublishedRun, start: int = 0) -> str:
    """The page of a scan's labels, from one on."""
    return f"{run(published)}/labels{_start(start)}"


def search(words: str) -> str:
    """The page with what matches some words."""
    return f"/search?{urlencode({'q': words})}"


def images(published: PublishedRun, start: int = 0) -> str:
    """The page of a scan's images, from one on."""
    return f"{run(published)}/images{_start(start)}"


def rejects(published: PublishedRun, start: int = 0) -> str:
    """The page of a scan's rejects, from one on."""
    return f"{run(published)}/rejects{_start(start)}"


def strips(published: PublishedRun, name: str, start: int = 0, sort: str = "") -> str:
    """The page of a layer during training, from strip `start` on. Sorted by channel, strip N is that of channel N."""
    chosen = {"sort": sort, "start": str(start) if start else ""}
    return layer(published, name, **{key: value for key, value in chosen.items() if value})


def row(published: PublishedRun, number: int) -> str:
    """The page of one row of an instrument's table."""
    return f"{run(published)}/rows/{number}"


def picture(published: PublishedRun, number: int, column: str, view: str = "filled") -> str:
    """A picture in a row of an instrument's table; `view` only matters for patches and projections of a training run."""
    return _marked(published, f"{row(published, number)}/{column}{_view(view)}")


def map_of(published: PublishedRun, name: str, scan: PublishedRun | None) -> str:
    """The picture of a map of a layer's channels. Its patches are those of a scan, which may be removed."""
    return f"{run(published)}/maps/{quote(name, safe='')}?v={map_mark(published, scan)}"


def map_mark(published: PublishedRun, scan: PublishedRun | None) -> str:
    """The mark of the pictures of a run's maps."""
    return published.mark + (scan.mark if scan else "")


def run_of_id(run_id: str) -> str:
    """The page of a run, published or not."""
    return f"/runs/{run_id}"


def api_run(run_id: str, action: str) -> str:
    """What the API does with a run, or says of it: `events`, `logs`, `cancel` or `resume`."""
    return f"{API}/runs/{run_id}/{action}"


def api_schedule(name: str, action: str) -> str:
    """What the API does with a schedule: `pause`, `resume`, or `fires` once."""
    return f"{API}/schedules/{name}/{action}"


def preview(published: PublishedRun, image_index: int) -> str:
    """The preview of an image."""
    return _marked(published, f"{run(published)}/previews/{image_index}")


def original(published: PublishedRun, image_index: int) -> str:
    """The corpus's own file of an image."""
    return f"{run(published)}/originals/{image_index}"


def wall(published: PublishedRun, about: LayerFacts, number: int, show: str = "patch", view: str = "filled") -> str:
    """The picture of a channel on the wall."""
    return _marked(published, f"{channel(published, about.name, number)}/wall/{show}{_view(view)}")


def cell(published: PublishedRun, about: LayerFacts, number: int, rank: int, show: str, view: str = "filled") -> str:
    """A patch or projection of a channel."""
    return _marked(published, f"{channel(published, about.name, number)}/{rank}/{show}{_view(view)}")


def embed(published: PublishedRun, name: str, number: int) -> str:
    """The card of a channel, for frames."""
    return f"/embed{channel(published, name, number)}"


def mosaic(published: PublishedRun) -> str:
    """The cover of a scan: its most telling channels. Labels decide which these are, so its address changes with them."""
    return f"{run(published)}/mosaic?v={published.version}"


def compare(first: str, second: str, name: str = "", match: str = "") -> str:
    """The page that compares two scans, or a layer of them, by number or overlap."""
    chosen = {"layer": name, "match": match}
    return "/compare?" + urlencode({"a": first, "b": second} | {key: value for key, value in chosen.items() if value})


def _start(start: int) -> str:
    return f"?start={start}" if start else ""


def _view(view: str) -> str:
    return "" if view == "filled" else f"/{view}"


def _marked(published: PublishedRun, path: str) -> str:
    """A path with the run's mark: another run under the same id has other paths, so browsers may cache this one for ever."""
    return f"{path}?v={published.mark}"
