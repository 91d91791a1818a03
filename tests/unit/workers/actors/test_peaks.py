"""An actor's memory above its model, whatever its images, in both passes."""

import pytest

from tests.support import peaks

LIMIT_MIB = 2000
# Kind, megapixels, images. 88 megapixels are what the limits let pass.
WORST = [
    ("1-bit", 88.4, 48),
    ("jpeg", 12, 48),
    ("jpeg", 24, 32),
    ("progressive", 24, 32),
    ("rgba", 88.4, 6),
    ("16-bit", 88.4, 6),
    ("webp", 88.4, 4),
]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize(("kind", "megapixels", "images"), WORST)
def test_an_actor_stays_under_two_gigabytes_above_its_model(tmp_path, kind, megapixels, images, threads):
    corpus = peaks.write(tmp_path / "corpus", kind, megapixels, images)
    for number in (1, 2):
        assert peaks.peak_mib(corpus, tmp_path, number, threads) < LIMIT_MIB


def test_many_threads_hold_no_more_pixels_than_the_budget(tmp_path, monkeypatch):
    """9 images of 84 MB each in memory on 8 threads, with a budget for one; the second pass keeps previews only."""
    corpus = peaks.write(tmp_path / "corpus", "jpeg", 12, 9)
    monkeypatch.setenv("PEAKS_PIXELS_BYTES", str(130 << 20))
    for number in (1, 2):
        assert peaks.peak_mib(corpus, tmp_path, number, 8) < 480


def test_previews_of_large_one_bit_images_stay_within_the_budget(tmp_path, monkeypatch):
    """6 images of 24 megapixels on 4 threads; a preview's copy takes more than the pixels, and the budget holds one of each."""
    corpus = peaks.write(tmp_path / "corpus", "1-bit", 24, 6)
    monkeypatch.setenv("PEAKS_PIXELS_BYTES", str(300 << 20))
    for number in (1, 2):
        assert peaks.peak_mib(corpus, tmp_path, number, 4) < 400
