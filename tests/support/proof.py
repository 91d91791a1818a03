"""The tables of docs/proof.md, which tests write."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
WRITE = "DECONVOY_WRITE_PROOF"  # environment variable: tests write their tables
PAGE = REPOSITORY / "docs" / "proof.md"


RECORD = "tests/chaos/record.jsonl"  # of rounds of chaos


def commit() -> str:
    """The commit of the code, with `-dirty` if any file differs from it but those that these tables are written to."""
    written = [f":!{path}" for path in (PAGE.relative_to(REPOSITORY), RECORD)]
    return _git("describe", "--always") + ("-dirty" if _git("status", "--porcelain", "--", ".", *written) else "")


def _git(*arguments: str) -> str:
    return subprocess.check_output(["git", *arguments], cwd=REPOSITORY, text=True).strip()


def write(name: str, lines: Iterable[str]) -> None:
    """Replace the table of this name."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = PAGE.read_text().split(begin)
    table = "\n".join(lines)
    PAGE.write_text(f"{before}{begin}\n\n{table}\n\n{end}{rest.split(end)[1]}")
