"""What pip-audit has found. Takes its report, prints the packages with known weaknesses; exit code 1 if there are any."""

import json
import sys
from pathlib import Path


def main(report: Path) -> int:
    """Print one line for each weakness, and how many packages the database knows."""
    packages = json.loads(report.read_text())["dependencies"] if report.exists() else []
    known = [package for package in packages if "vulns" in package]
    weak = [(package, weakness) for package in known for weakness in package["vulns"]]
    for package, weakness in weak:
        print(
            f"{package['name']} {package['version']}: {weakness['id']}, fixed in {', '.join(weakness['fix_versions'])}"
        )
    print(f"pip-audit: {len(known)} of {len(packages)} packages checked, {len(weak)} known weaknesses")
    return int(bool(weak))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
