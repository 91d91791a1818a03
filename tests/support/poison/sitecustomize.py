"""A decoder that crashes at some pictures. Takes effect in every Python that finds this folder on its path.

A picture with `MARK` crashes it every time; one with `LATE_MARK` from the second time on, when the file that
`DECONVOY_TEST_DECODED` names is there.
"""

import os
import signal
from pathlib import Path

from PIL import Image

MARK, LATE_MARK = b"deconvoy-test-poison", b"deconvoy-test-late-poison"
_open = Image.open


def _deadly(file, *arguments, **options):
    data = file.getvalue()
    if MARK in data or (LATE_MARK in data and _is_decoded_again()):
        signal.raise_signal(
            signal.SIGSEGV
        )  # in this thread; in another one, this one would go on and might finish its work
    return _open(file, *arguments, **options)


def _is_decoded_again() -> bool:
    seen = Path(os.environ["DECONVOY_TEST_DECODED"])
    try:
        seen.touch(exist_ok=False)
    except FileExistsError:
        return True
    return False


Image.open = _deadly  # type: ignore[assignment]
