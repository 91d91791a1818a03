"""Where the atlas's pages and pictures are. Takes runs, layers, channels and images, gives paths, names quoted."""

from typing import Literal
from urllib.parse import quote, urlencode

from service.query.catalog import PublishedRun
from workers.store.manifest import Layer

API = "/api/v1"
Kind = Literal["patch", "projection"]
KINDS: tuple[Kind, ...] = ("patch", "projection")
SHOWN = 9  # images of a channel that have pictures; a scan may keep more


def run(found: PublishedRun, start: int = 0) -> str:
    """A run's page; of an instrument's run from some image on."""
    return f"/runs/{found.run}" + (f"?start={start}" if start else "")


def layer(found: PublishedRun, name: str, **asked: str) -> str:
    """A layer's page, with what is asked of it."""
    return f"{run(found)}/layers/{quote(name, safe='')}" + (f"?{urlencode(asked)}" if asked else "")


def channel(found: PublishedRun, name: str, number: int) -> str:
    """A channel's page."""
    return f"{layer(found, name)}/channels/{number}"


def image(found: PublishedRun, image_id: str) -> str:
    """An image's page; its id is no part of the path, where it could lead elsewhere."""
    return f"{run(found)}/image?{urlencode({'id': image_id})}"


def label(found: PublishedRun, name: str) -> str:
    """The page of the channels whose top images share a label."""
    return f"{run(found)}/label?{urlencode({'name': name})}"


def strips(found: PublishedRun, name: str, start: int = 0) -> str:
    """A layer of a training, from some channel on."""
    return layer(found, name, **({"start": str(start)} if start else {}))


def row(found: PublishedRun, number: int) -> str:
    """The page of one row of an instrument's table."""
    return f"{run(found)}/rows/{number}"


def picture(found: PublishedRun, number: int, column: str) -> str:
    """A picture in such a row."""
    return _marked(found, f"{row(found, number)}/{column}")


def submitted(run_id: str) -> str:
    """The page of how a submitted run goes."""
    return f"/submitted/{run_id}"


def preview(found: PublishedRun, image_index: int) -> str:
    """The small copy of an image."""
    return _marked(found, f"{run(found)}/previews/{image_index}")


def original(found: PublishedRun, image_index: int) -> str:
    """The image as the corpus has it."""
    return f"{run(found)}/originals/{image_index}"


def wall(found: PublishedRun, about: Layer, number: int, show: str = "patch") -> str:
    """The small picture of a channel on the wall."""
    return _marked(found, f"{channel(found, about.name, number)}/wall/{show}")


def cell(found: PublishedRun, about: Layer, number: int, rank: int, show: str) -> str:
    """A patch or projection of a channel."""
    return _marked(found, f"{channel(found, about.name, number)}/{rank}/{show}")


def compare(first: str, second: str, name: str) -> str:
    """Two runs' page."""
    return "/compare?" + urlencode({"a": first, "b": second, "layer": name})


def _marked(found: PublishedRun, path: str) -> str:
    """A path that is another one for another run under the same id, so that what is kept of it may be kept for ever."""
    return f"{path}?v={found.mark}"
