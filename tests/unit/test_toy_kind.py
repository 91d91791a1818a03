"""A new kind of job costs new files and one line per layer. Adds a toy kind to a copy of the product, and uses it everywhere."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TOY = REPOSITORY / "tests" / "support" / "toy_kind"
LAYERS = ("deconvoy", "service", "jobs", "workers")
LINES = {  # file: the line after which one line is added, and that line
    "workers/kinds.py": ('    SANITY = "sanity"\n', '    TOY = "toy"\n'),
    "jobs/kinds.py": ('    Kind.SANITY: "jobs.sanity:sanity",\n', '    Kind.TOY: "jobs.toy:toy",\n'),
}
USED = """
import json, sys
from fastapi.testclient import TestClient
from jobs.kinds import PIPELINES
from service.cli.query import app
from service.http.access import Rules
from service.http.app import create
from service.http.bodies import Submission
from service.atlas.pages.schema import described
from workers.spec.kinds import kind_with
from workers.store.root import Root
root = Root(sys.argv[1])
client = TestClient(create(root, rules=Rules(keyless=True)), base_url="http://localhost")
paths = ["/runs/mine", "/runs/mine/rows/2", "/"]
told = {path: [client.get(path).status_code, client.get(path).text] for path in paths}
told["twin"] = client.get("/runs/mine.json").json()
told["picture"] = client.get(told["twin"]["found"][1]["pictures"]["picture"]).headers["content-type"]
told["schema"] = sorted(described()["kinds"].keys() & {"toys", "toy"})
told["submitted"] = Submission(job="toy", spec={}).job
told["named"] = kind_with({"toy": {}})
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The product with the toy kind."""
    copy = tmp_path_factory.mktemp("copy")
    for layer in LAYERS:
        shutil.copytree(REPOSITORY / layer, copy / layer, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (path for path in TOY.rglob("*") if path.is_file()):
        target = copy / path.relative_to(TOY).with_name(path.name.removesuffix(".txt"))
        assert not target.exists(), "a new kind changes no file beyond its lines"
        shutil.copy(path, target)
    for name, (before, line) in LINES.items():
        text = (copy / name).read_text()
        assert text.count(before) == 1
        (copy / name).write_text(text.replace(before, before + line))
    return copy


def python(copy: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, *words], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_new_kind_costs_one_line_per_layer_at_most():
    assert len(LINES) <= len(LAYERS) and all(line.count("\n") == 1 for _, line in LINES.values())


def test_a_new_kind_is_run_queried_drawn_reported_and_shown(copy, tmp_path):
    root, sheet, report = tmp_path / "root", tmp_path / "toy.png", tmp_path / "toy.html"
    assert "mine" in python(
        copy, "-m", "service", "toy", "--root", str(root), "--run", "mine", "--levels", "3", "-o", str(sheet)
    )
    rows = json.loads(
        python(copy, "-m", "service", "sql", "SELECT level FROM toys ORDER BY 1", "--root", str(root), "--json")
    )
    assert rows == [{"level": 0}, {"level": 1}, {"level": 2}]
    python(copy, "-m", "service", "report", "mine", "--root", str(root), "-o", str(report))
    assert sheet.stat().st_size > 50 and report.read_text().count("data:image/png") == 3
    assert "number of grey levels" in python(copy, "-m", "service", "toy", "--help").replace("Number", "number")
    told = json.loads(python(copy, "-c", USED, str(root)))
    assert told["/runs/mine"][0] == 200 and "mine: 3 levels" in told["/runs/mine"][1]
    assert told["/runs/mine/rows/2"][0] == 200 and "level 2" in told["/runs/mine/rows/2"][1]
    assert "/runs/mine" in told["/"][1] and told["picture"] == "image/png"
    assert [row["level"] for row in told["twin"]["found"]] == [0, 1, 2] and told["twin"]["says"]
    assert told["schema"] == ["toy", "toys"] and told["submitted"] == told["named"] == "toy"
