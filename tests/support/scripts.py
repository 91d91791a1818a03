"""Scripts of a user. Takes a script's text and arguments, runs it in a process of its own; gives the classes that it defines."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def run(script: Path, *words: str) -> None:
    """Run a script in its own folder, with this checkout on the path and no Ray from outside.

    Args:
        script: the file.
        words: its arguments.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, str(script), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=script.parent, env=environment, timeout=500)
    assert done.returncode == 0, done.stderr


def load(script: Path) -> Any:
    """The script as a module; what stands under `if __name__ == "__main__"` is not run."""
    sys.path.insert(0, str(script.parent))
    try:
        return importlib.import_module(script.stem)
    finally:
        sys.path.remove(str(script.parent))
