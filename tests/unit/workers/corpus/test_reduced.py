"""JPEG files that are decoded at a part of their size, against the same files decoded whole."""

import io
import pickle
from functools import partial

import numpy as np
import pytest
from PIL import Image

from workers.core.preprocess import Preprocessing
from workers.core.resizing import resize
from workers.corpus import manifest, reader
from workers.corpus.batch import PreparedImage
from workers.corpus.decode import decode, upright_size
from workers.corpus.pixels import PixelFormat
from workers.errors import Reason, Rejected
from workers.spec.decoding import DecodeSpec
from workers.spec.parts import Interpolation, LimitsSpec

LIMITS = LimitsSpec()
TO_32 = Preprocessing(32, 24, (0.5,) * 3, (0.5,) * 3, Interpolation.BILINEAR)


def jpeg(width: int, height: int, **options: object) -> bytes:
    """A smooth picture: brightness grows to the right in red and downward in green; a dark disc lies left of the top."""
    y, x = np.mgrid[:height, :width] / max(width, height)
    disc = 120 * (np.hypot(x - 0.3, y - 0.2) < 0.1)
    pixels = np.stack([60 + 190 * x, 60 + 190 * y, np.full_like(x, 128)], axis=-1) - disc[..., None] / 2
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def form(preprocessing: Preprocessing = TO_32, channels: int = 3) -> PixelFormat:
    return PixelFormat.of(channels, 8, DecodeSpec(jpeg="reduced"), preprocessing.resized_size)


@pytest.mark.parametrize(
    ("size", "decoded"),
    [
        ((63, 70), (63, 70)),  # width, height: half of 63 is less than 32
        ((64, 70), (32, 35)),
        ((131, 140), (33, 35)),  # quarters, rounded up
        ((300, 257), (38, 33)),
        ((2000, 1600), (250, 200)),  # an eighth is the least
    ],
)
@pytest.mark.parametrize("progressive", [False, True])
def test_both_sides_stay_as_long_as_after_resizing(size, decoded, progressive):
    data = jpeg(*size, progressive=progressive)
    pixels = decode(data, LIMITS, form=form())
    assert pixels.shape == (decoded[1], decoded[0], 3)
    assert upright_size(data, pixels) == (size[1], size[0])


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_pixel_is_the_mean_of_those_it_stands_for(factor):
    data = jpeg(32 * factor, 40 * factor)
    whole = decode(data, LIMITS).astype(float)
    means = whole.reshape(40, factor, 32, factor, 3).mean((1, 3))
    reduced = decode(data, LIMITS, form=form())
    assert reduced.shape == means.shape
    assert np.abs(reduced - means).mean() < 1 and np.abs(whole[::factor, ::factor] - means).max() > 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_is_reduced_is_turned_upright(orientation):
    data = jpeg(301, 520, exif=turned(orientation))
    whole, reduced = decode(data, LIMITS), decode(data, LIMITS, form=form())
    assert upright_size(data, reduced) == whole.shape[:2]
    assert reduced.shape[:2] == tuple(-(-side // 8) for side in whole.shape[:2])
    expected = np.asarray(Image.fromarray(whole).resize(reduced.shape[1::-1], Image.Resampling.BOX))
    assert np.abs(reduced.astype(float) - expected).mean() < 2


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_sides_that_count_are_those_of_the_upright_image(orientation):
    wide = Preprocessing((30, 120), (30, 120), (0.5,) * 3, (0.5,) * 3, Interpolation.BILINEAR)
    data = jpeg(480, 130, exif=turned(orientation))  # turned, it is 130 wide, of which 120 are needed
    reduced = decode(data, LIMITS, form=form(wide))
    assert reduced.shape[:2] == {1: (33, 120), 6: (480, 130)}[orientation]


def test_grey_is_reduced_too_and_other_formats_are_not():
    picture = Image.open(io.BytesIO(jpeg(320, 320)))
    files = {name: io.BytesIO() for name in ("JPEG", "PNG", "WEBP", "TIFF")}
    for name, file in files.items():
        picture.convert("L").save(file, name)
    shapes = {name: decode(file.getvalue(), LIMITS, form=form(channels=1)).shape for name, file in files.items()}
    assert shapes == {"JPEG": (40, 40, 1), **dict.fromkeys(("PNG", "WEBP", "TIFF"), (320, 320, 1))}
    assert upright_size(files["PNG"].getvalue(), np.zeros((320, 320, 1))) == (320, 320)


def test_by_default_nothing_is_reduced():
    full = PixelFormat.of(3, 8, DecodeSpec(), TO_32.resized_size)
    assert full == PixelFormat() and decode(jpeg(400, 400), LIMITS, form=full).shape == (400, 400, 3)


def test_the_limits_concern_the_whole_image():
    with pytest.raises(Rejected) as refused:
        decode(jpeg(400, 300), LimitsSpec(pixels=119_999), form=form())
    assert refused.value.reason is Reason.TOO_MANY_PIXELS


def test_less_memory_is_claimed():
    claims: list[tuple[int, ...]] = []
    for options in ({}, {"progressive": True}):
        decode(jpeg(800, 800, **options), LIMITS, lambda *claim: claims.append(claim), form())
    assert claims[0] == (100, 100, 100 * 100 * (4 + 3))
    assert claims[1] == (100, 100, 100 * 100 * 4 + 800 * 800 * 6)  # all coefficients of a progressive file are kept
    claims.clear()
    decode(in_scans(800), LIMITS, lambda *claim: claims.append(claim), form())
    decode(in_scans(800), LIMITS, lambda *claim: claims.append(claim))
    assert claims == [(100, 100, 100 * 100 * 4 + 800 * 800 * 6), (800, 800, 800 * 800 * (4 + 6))]


def segments(data: bytes) -> dict[int, list[bytes]]:
    """The segments of a JPEG by their markers; that of its scan includes what follows."""
    found: dict[int, list[bytes]] = {}
    place = 2
    while place < len(data) - 2:
        marker, size = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        stop = len(data) - 2 if marker == 0xDA else place + 2 + size
        found.setdefault(marker, []).append(data[place:stop])
        place = stop
    return found


def in_scans(side: int) -> bytes:
    """A baseline JPEG of three equal components, each in a scan of its own, as few programs write them."""
    file = io.BytesIO()
    Image.open(io.BytesIO(jpeg(side, side))).convert("L").save(file, "JPEG")
    parts = segments(file.getvalue())
    [frame], [scan] = parts[0xC0], parts[0xDA]
    components = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    frame = frame[:2] + (8 + 9).to_bytes(2, "big") + frame[4:9] + b"\x03" + components
    scans = b"".join(scan[:5] + bytes([number]) + scan[6:] for number in (1, 2, 3))
    return b"\xff\xd8" + b"".join([*parts[0xDB], frame, *parts[0xC4], scans]) + b"\xff\xd9"


def test_a_file_in_several_scans_has_the_pixels_of_its_components():
    pixels = decode(in_scans(160), LIMITS)
    assert pixels.shape == (160, 160, 3) and decode(in_scans(160), LIMITS, form=form()).shape == (40, 40, 3)


@pytest.mark.parametrize("size", [(700, 523), (523, 700), (1021, 259)])
def test_the_model_sees_the_same_picture_at_the_same_place(tmp_path, monkeypatch, size):
    origins: list[tuple[int, int]] = []
    keeping = lambda image, to, how: origins.append(to) or resize(image, to, how)  # noqa: E731
    monkeypatch.setattr("workers.core.preprocess.resize", keeping)
    file = tmp_path / "a.jpg"
    file.write_bytes(jpeg(*size))
    row = manifest.Row(0, "a.jpg", str(file), file.stat().st_size, "", None, None, False, None)
    whole, reduced = (
        read(row, PixelFormat()),
        read(row, pickle.loads(pickle.dumps(form()))),  # noqa: S301 - as it reaches processes that decode
    )
    assert (reduced.record.height, reduced.record.width) == size[::-1]
    assert reduced.record == whole.record
    assert origins == [TO_32.resized_size(*size[::-1])] * 2  # though half of an odd side is rounded up
    ours, theirs = reduced.prepared.float(), whole.prepared.float()
    assert ours.shape == theirs.shape
    differences = {
        (down, right): (ours.roll((down, right), (1, 2)) - theirs)[:, 2:-2, 2:-2].abs().mean().item()
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    }
    assert min(differences, key=lambda shift: differences[shift]) == (0, 0) and differences[0, 0] < 1


def read(row: manifest.Row, pixels: PixelFormat) -> PreparedImage:
    options = reader.ReadOptions(LIMITS, decode=partial(decode, form=pixels), is_reduced=pixels.least is not None)
    [batch] = reader.batches([row], 1, partial(TO_32.prepare, max_pixels=10**8), options)
    return batch.pictures[0]
