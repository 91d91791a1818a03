"""Scripts of a user. Takes a script's text and arguments, runs it in a process of its own; gives the classes that it defines."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any


def run(script: Path, *words: str) -> None:
    """Run a script in its own folder, with this checkout on the path and no Ray from outside.

    Args:
        script: the file.
        words: its arguments.
    """
    done = _run(script, *words)
    assert done.returncode == 0, done.stderr


def output_of(text: str, folder: Path) -> tuple[int, list[str]]:
    """The exit code of a script, and what it prints. Its text may be indented; its file is written to a folder."""
    script = folder / "script.py"
    script.write_text(dedent(text))
    done = _run(script)
    return done.returncode, (done.stdout + done.stderr).splitlines()


def _run(script: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, str(script), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=script.parent, env=environment, timeout=500)


def load(script: Path) -> Any:
    """The script as a module; what stands under `if __name__ == "__main__"` is not run."""
    sys.path.insert(0, str(script.parent))
    try:
        return importlib.import_module(script.stem)
    finally:
        sys.path.remove(str(script.parent))
