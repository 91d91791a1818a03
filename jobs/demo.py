"""The demo. Takes photographs that two packages contain, cuts them into tiles, and scans the tiles.

Seventeen photographs are few, so each is cut into overlapping tiles at three scales. The tiles of one photograph form one
group, so that a channel's nine patches come from nine photographs, not from nine shifts of the same edge.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from jobs.run.outcome import Outcome
from jobs.scan import scan
from jobs.watch import Watcher
from workers.errors import ExtraError
from workers.spec.scan import make_spec

# Folders inside packages, and their useful photographs: no drawings, no text, no second views.
PHOTOS = {
    "skimage/data": (
        *("astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "coffee.png", "coins.png"),
        *("grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png"),
        *("retina.jpg", "rocket.jpg"),
    ),
    "sklearn/datasets/images": ("china.jpg", "flower.jpg"),
}
JPEG_QUALITY = 92
TILE_PX = 200
SHORT_SIDES_PX = (240, 400, 640)


def demo(root: str, watch: Watcher, actors: int | str = "auto") -> Outcome:
    """Make the demo's corpus below a folder and scan it with zfnet-mini.

    Args:
        root: a local folder; the tiles go to `corpus` in it, the datasets to `atlas`.
        watch: reports the run's progress.
        actors: number of actors, or auto.

    Raises:
        ExtraError: the packages with the photographs are not installed.
    """
    folder = Path(root) / "corpus"
    count = corpus(folder)
    watch.say(
        f"corpus: {count} overlapping tiles of the {sum(map(len, PHOTOS.values()))} photographs that scikit-image and "
        f"scikit-learn contain, in {folder}; each channel keeps at most one tile of a photograph"
    )
    return scan(
        make_spec(
            {
                "run": "demo",
                "root": str(Path(root) / "atlas"),
                "model": {"source": "deconvoy://zfnet-mini"},
                "corpus": {"source": str(folder), "group": "folder"},
                "scan": {"distinct": "group", "shard": 128},
                "resources": {"actors": actors},
            }
        ),
        watch,
    )


def corpus(folder: Path) -> int:
    """Write the missing tiles `<photograph>/<short side>-<top>-<left>.jpg`; returns the number of all tiles.

    Existing tiles stay untouched, so that an earlier run on the tiles can be resumed.

    Raises:
        ExtraError: the packages with the photographs are not installed.
    """
    count = 0
    for photo in _photos():
        target = folder / photo.stem
        target.mkdir(parents=True, exist_ok=True)
        with Image.open(photo) as opened:
            for name, tile in _tiles(opened.convert("RGB")):
                count += 1
                if not (target / name).exists():
                    tile.save(target / f".{name}", "JPEG", quality=JPEG_QUALITY)
                    (target / f".{name}").rename(target / name)
    return count


def _photos() -> Iterator[Path]:
    for place, names in PHOTOS.items():
        package, _, below = place.partition("/")
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise ExtraError(
                "the demo's photographs come with scikit-image and scikit-learn: pip install 'deconvoy[demo]'"
            )
        for name in names:
            path = Path(spec.submodule_search_locations[0]) / below / name
            if not path.is_file():
                raise ExtraError(
                    f"this {package} does not contain {name}, which the demo needs: pip install 'deconvoy[demo]'"
                )
            yield path


def _tiles(photo: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    for short in SHORT_SIDES_PX:
        factor = short / min(photo.size)
        if factor > 1.5:
            continue
        scaled = photo.resize((round(photo.width * factor), round(photo.height * factor)), Image.Resampling.LANCZOS)
        for top in _starts(scaled.height):
            for left in _starts(scaled.width):
                yield f"{short}-{top:04d}-{left:04d}.jpg", scaled.crop((left, top, left + TILE_PX, top + TILE_PX))


def _starts(length: int) -> list[int]:
    """Starts of tiles that overlap by half; the last tile ends at the end."""
    last = length - TILE_PX
    return sorted({*range(0, last, TILE_PX // 2), last})
