"""Known weaknesses of packages. Takes the program pip-audit and a file of versions; prints the weak ones, exit code 1 if any."""

import json
import re
import subprocess
import sys
from typing import Any

LIMIT_S = 180.0  # pip-audit asks for one package after the other, and a network may answer none
FLAGS = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json")


UNREACHABLE = re.compile("connection|network|resolve|timed out", re.IGNORECASE)


def ask(program: str, constraints: str) -> list[dict[str, Any]]:
    """What pip-audit knows of each package; nothing if PyPI does not answer in time.

    Raises:
        RuntimeError: pip-audit fails.
    """
    words = [program, "-r", constraints, *FLAGS]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return []
    if done.stdout.startswith("{"):
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
        return packages
    if UNREACHABLE.search(done.stderr):
        return []
    raise RuntimeError(f"pip-audit failed with exit code {done.returncode}: {done.stderr[-500:]}")


def report(packages: list[dict[str, Any]]) -> int:
    """Print one line for each weakness, and how many packages the database knows."""
    known = [package for package in packages if "vulns" in package]
    weak = [(package, weakness) for package in known for weakness in package["vulns"]]
    for package, weakness in weak:
        print(
            f"{package['name']} {package['version']}: {weakness['id']}, fixed in {', '.join(weakness['fix_versions'])}"
        )
    print(f"pip-audit: {len(known)} of {len(packages)} packages checked, {len(weak)} known weaknesses")
    return int(bool(weak))


if __name__ == "__main__":
    sys.exit(report(ask(*sys.argv[1:])))
