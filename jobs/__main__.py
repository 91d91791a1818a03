"""The entry point of every job: `python -P -m jobs scan run.toml`. Takes a spec file, runs it; no other words."""

import sys
from pathlib import Path

from jobs.scan import scan
from jobs.watch import Silent
from workers.errors import DeconvoyError, SpecError
from workers.spec import make_spec, read_toml


def main(words: list[str]) -> int:
    """Run the job that the words name; gives the exit code."""
    try:
        if len(words) != 2 or words[0] != "scan":
            raise SpecError(["usage: python -P -m jobs scan run.toml"])
        path = Path(words[1])
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError([f"spec file {words[1]!r} cannot be read: {error}"]) from error
        return scan(make_spec(read_toml(text, path.absolute().parent)), Silent()).exit_code
    except DeconvoyError as error:
        print(f"deconvoy: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
