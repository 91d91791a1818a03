"""Shell completion: scripts for shells, and the words that they ask the command for."""

import os
import subprocess
import sys

import pytest

NAMED = {
    "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"
}  # the shell is an argument, not the one that runs the tests


def deconvoy(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deconvoy", *words], env={**os.environ, **environment}, capture_output=True, text=True
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_asks_the_command(shell):
    done = deconvoy("--show-completion", shell, **NAMED)
    assert (done.returncode, done.stderr) == (0, "") and f"_DECONVOY_COMPLETE=complete_{shell}" in done.stdout


def test_a_script_is_installed_below_the_home_folder(tmp_path):
    done = deconvoy("--install-completion", "bash", HOME=str(tmp_path), **NAMED)
    assert (done.returncode, done.stderr) == (0, "")
    script = tmp_path / ".bash_completions" / "deconvoy.sh"
    assert "_DECONVOY_COMPLETE" in script.read_text() and str(script) in (tmp_path / ".bashrc").read_text()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("deconvoy sche", {"schedule"}),
        ("deconvoy query to", {"top"}),
        ("deconvoy scan --max-rej", {"--max-reject-share"}),
        ("deconvoy nothing", set()),
    ],
)
def test_commands_and_flags_are_completed(line, found):
    position = str(len(line.split()) - 1)
    done = deconvoy(_DECONVOY_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=position)
    assert (done.returncode, set(done.stdout.split()), done.stderr) == (0, found, "")
