"""The command's entry point: packages of other people that hide ours are one line, and so is Ctrl-C."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deconvoy import __main__, shadows

REPOSITORY = Path(__file__).parents[3]
AS_A_SCRIPT = "import sys; sys.argv[0] = 'deconvoy'; from deconvoy.__main__ import main; main()"


def run(*words: str, cwd: Path, first: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python with the checkout on its path, and perhaps another folder before it."""
    path = os.pathsep.join(str(folder) for folder in (first, REPOSITORY) if folder)
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith("deconvoy: ")
    return done.stderr


@pytest.mark.parametrize("name", shadows.OURS)
def test_a_package_in_the_current_folder_that_shadows_ours_is_named_in_one_line(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("1 / 0\n")
    line = one_line(run("-m", "deconvoy", "--version", cwd=tmp_path))
    assert f"{str(tmp_path / name)!r} shadows deconvoy's own package {name!r}" in line


def test_a_module_on_the_path_that_shadows_ours_is_named_in_one_line(tmp_path):
    (tmp_path / "jobs.py").write_text("1 / 0\n")
    line = one_line(run("-c", AS_A_SCRIPT, "--version", cwd=REPOSITORY.parent, first=tmp_path))
    assert f"{str(tmp_path / 'jobs.py')!r} shadows" in line and "PYTHONPATH" in line
    done = run("-c", "import deconvoy; deconvoy.open('.')", cwd=REPOSITORY.parent, first=tmp_path)
    assert done.stderr.splitlines()[-1].startswith(f"ImportError: {str(tmp_path / 'jobs.py')!r} shadows"), done.stderr


def test_a_folder_that_is_no_package_hides_nothing(tmp_path):
    (tmp_path / "jobs").mkdir()
    done = run("-m", "deconvoy", "--version", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("deconvoy ")


def test_a_name_that_would_steer_a_terminal_is_escaped(tmp_path):
    folder = tmp_path / "a\x1b[2J"
    folder.mkdir()
    (folder / "service.py").write_text("")
    assert "\x1b" not in one_line(run("-m", "deconvoy", "--version", cwd=folder))


def test_ctrl_c_is_one_line_at_each_moment(monkeypatch, capsys):
    def interrupt() -> None:
        raise KeyboardInterrupt

    for place in ("deconvoy.shadows.find_shadow", "service.__main__.main"):
        with monkeypatch.context() as patched:
            patched.setattr(place, interrupt)
            with pytest.raises(SystemExit) as ended:
                __main__.main()
        assert (ended.value.code, capsys.readouterr().err) == (130, "deconvoy: stopped\n")


def test_the_entry_point_loads_nothing_before_it_catches_ctrl_c():
    program = (
        "import sys; before = set(sys.modules); import deconvoy.__main__; print(*sorted(set(sys.modules) - before))"
    )
    done = run("-c", program, cwd=REPOSITORY)
    assert done.stdout.split() == ["deconvoy", "deconvoy.__main__"], done.stderr
