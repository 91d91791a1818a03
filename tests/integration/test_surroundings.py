"""A run where the machine is not as it should be: a long temporary folder, and no home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import corpora

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_run_needs_neither_a_short_temporary_folder_nor_a_home(tmp_path: Path):
    corpora.photos(tmp_path / "photos", range(8))
    long = tmp_path / ("x" * 80)
    long.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "RAY_TMPDIR")}
    words = ["--model", "deconvoy://zfnet-mini", "--corpus", str(tmp_path / "photos"), "--root", str(tmp_path / "root")]
    more = ["--layers", "relu1", "--actors", "1", "--device", "cpu", "--run", "one"]
    result = subprocess.run(
        [sys.executable, "-m", "service", "scan", *words, *more],
        env=environment | {"TMPDIR": str(long)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "root" / "runs" / "one" / "manifest.json").is_file()
