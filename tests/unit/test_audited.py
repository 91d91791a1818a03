"""What is printed of pip-audit's report."""

import json
import sys

import pytest

from tests.support import audited

CHECKED = {"name": "safe", "version": "1", "vulns": []}
UNKNOWN = {"name": "strange", "version": "1", "skip_reason": "not found on PyPI"}
WEAK = {"name": "weak", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1", "2.0"]}]}


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([CHECKED, UNKNOWN], 0, ["pip-audit: 1 of 2 packages checked, 0 known weaknesses"]),
        ([WEAK], 1, ["weak 1.0: CVE-1, fixed in 1.1, 2.0", "pip-audit: 1 of 1 packages checked, 1 known weaknesses"]),
    ],
)
def test_weaknesses_are_one_line_each(tmp_path, capsys, packages, code, said):
    program = tmp_path / "pip-audit"
    program.write_text(f"#!{sys.executable}\nprint({json.dumps({'dependencies': packages})!r})\n")
    program.chmod(0o755)
    assert audited.report(audited.ask(str(program), "constraints.txt")) == code
    assert capsys.readouterr().out.splitlines() == said


@pytest.mark.parametrize("body", ["import time; time.sleep(60)", "raise SystemExit('ConnectionError: pypi.org')"])
def test_without_an_answer_nothing_was_checked(tmp_path, capsys, monkeypatch, body):
    monkeypatch.setattr(audited, "LIMIT_S", 1.0)
    program = tmp_path / "pip-audit"
    program.write_text(f"#!{sys.executable}\n{body}\n")
    program.chmod(0o755)
    assert audited.report(audited.ask(str(program), "constraints.txt")) == 0
    assert capsys.readouterr().out == "pip-audit: 0 of 0 packages checked, 0 known weaknesses\n"


def test_a_pip_audit_that_does_not_work_is_an_error(tmp_path):
    program = tmp_path / "pip-audit"
    program.write_text(f"#!{sys.executable}\nraise SystemExit('unrecognized arguments: --no-deps')\n")
    program.chmod(0o755)
    with pytest.raises(RuntimeError, match="unrecognized arguments"):
        audited.ask(str(program), "constraints.txt")
