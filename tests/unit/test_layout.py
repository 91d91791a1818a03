"""The lines that the code base is drawn along. Takes its source files, reads them, fails on one that crosses a line."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.spec.correspondence import PartBox
from workers.spec.kinds import SPECS
from workers.store.tables.registry import RESULTS, TABLES
from workers.store.tables.shared import MANIFEST

REPOSITORY = Path(__file__).parents[2]
LAYERS = ("deconvoy", "service", "jobs", "workers")  # each imports only itself and what stands to its right
PUBLIC = "deconvoy/__init__.py"  # the one package file that holds code: the Python API
MODULES = sorted(path for layer in LAYERS for path in (REPOSITORY / layer).rglob("*.py"))
WRITTEN = [path for path in MODULES if path.name != "__init__.py"]

MODULE_LINES = 300
BODY_LINES = 30
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}

STATEFUL = {"os", "time", "datetime", "random", "secrets", "uuid", "socket", "pathlib", "io", "tempfile", "logging"}
CORE_NEVER = STATEFUL | {"ray", "fsspec", "pyarrow.parquet", "pyarrow.fs", "workers.store", "workers.corpus"}


def named(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def dotted(path: Path) -> str:
    return named(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(path: Path) -> set[str]:
    """Full names of all that a file imports, wherever in the file; `from a import b` counts as a and as a.b."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            pytest.fail(f"{named(path)}:{node.lineno} imports relatively; write the full name")
    return found


def below(name: str, packages: set[str]) -> bool:
    """Whether a module is one of some packages, or inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body: from the first statement behind the docstring to the end."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_imports_point_from_deconvoy_to_service_to_jobs_to_workers():
    for number, layer in enumerate(LAYERS):
        left = set(LAYERS[:number])
        stray = [
            f"{named(path)} imports {name}"
            for path in (REPOSITORY / layer).rglob("*.py")
            for name in imports(path)
            if below(name, left)
        ]
        assert not stray


# Rooms of a layer: each imports only itself and the rooms behind it.
ROOMS = {
    "workers": (
        "actors",
        "corpus",
        "models",
        "core",
        "pictures",
        "store",
        "spec",
        "sources",
        "files",
        "locations",
        "formats",
        "kinds",
        "host",
        "errors",
    ),
    "jobs": ("__main__", "kinds", "dry_run", "demo", "train_demo", "*", "reduce", "run", "ray", "watch"),
    "service": ("__main__", "cli", "http", "atlas", "sheets", "control", "query", "pools"),
}
APART = (("sheets", "control"), ("corpus", "models"), ("corpus", "core"), ("pictures", "core"), ("core", "store"))


def room(name: str) -> str:
    """The room of a module, by its full name: `*` for a pipeline of its own."""
    layer, _, rest = name.partition(".")
    first = rest.partition(".")[0]
    return first if first in ROOMS[layer] else "*"


def modules_imported(path: Path) -> set[str]:
    """Full names of the product's modules that a file imports."""
    known = {dotted(each) for each in WRITTEN}
    return {name if name in known else name.rpartition(".")[0] for name in imports(path)} & known


@pytest.mark.parametrize("layer", ROOMS)
def test_rooms_of_a_layer_import_one_way(layer):
    order, stray = ROOMS[layer], []
    for path in (REPOSITORY / layer).rglob("*.py"):
        own = room(dotted(path))
        for name in modules_imported(path):
            other = room(name) if name.startswith(f"{layer}.") else own
            if order.index(other) < order.index(own) or (own, other) in APART:
                stray.append(f"{named(path)} imports {name}")
    assert not stray


def test_pages_and_sheets_do_not_import_each_other():
    pages, sheets = REPOSITORY / "service/atlas/pages", REPOSITORY / "service/sheets"
    assert not [path for path in pages.glob("*.py") if any(below(name, {"service.sheets"}) for name in imports(path))]
    assert not [path for path in sheets.glob("*.py") if any(below(name, {"service.atlas"}) for name in imports(path))]


def test_rooms_of_the_service_lie_on_six_levels_at_most():
    edges = {
        (room(dotted(path)), room(name))
        for path in (REPOSITORY / "service").rglob("*.py")
        for name in modules_imported(path)
        if name.startswith("service.")
    }

    def level(place: str) -> int:
        return 1 + max((level(other) for own, other in edges if own == place and other != place), default=0)

    assert max(level(place) for place in ROOMS["service"] if place != "__main__") <= 6


# What the Python API reads with. Its entry point is the command's too.
READING = {"service.query", "service.sheets", "service.atlas.atlas", "service.atlas.pictures", "workers"}


def test_the_python_api_imports_only_what_reads_published_runs():
    stray = {
        (named(path), name)
        for path in (REPOSITORY / "deconvoy").glob("*.py")
        for name in imports(path)
        if below(name, {"service", "jobs", "workers", "ray", "torch"}) and not below(name, READING)
        if not any(
            below(kept, {name}) for kept in READING
        )  # `from service.query import catalog` counts as service.query
    }
    assert {path for path, _ in stray} <= {"deconvoy/__main__.py", "deconvoy/scanning.py"}


def test_product_code_never_imports_tests():
    assert not [named(path) for path in MODULES if any(below(name, {"tests"}) for name in imports(path))]


def test_ray_is_imported_in_five_files_of_jobs_and_where_jobs_are_submitted():
    users = [named(path) for path in MODULES if any(below(name, {"ray"}) for name in imports(path))]
    assert sorted(users) == [
        "jobs/ray/actor.py",
        "jobs/ray/cluster.py",
        "jobs/ray/joining.py",
        "jobs/ray/line.py",
        "jobs/ray/pool.py",
        "service/control/clusters.py",
    ]


@pytest.mark.parametrize("path", sorted((REPOSITORY / "workers" / "core").glob("*.py")), ids=dotted)
def test_the_core_knows_no_file_clock_chance_or_cluster(path):
    assert not [name for name in sorted(imports(path)) if below(name, CORE_NEVER)]


READ_WITH = [
    "workers.spec.kinds",
    "workers.errors",
    "workers.store.rows",
    "workers.store.tables.registry",
    "workers.core.topk",
]
SERVICE = [dotted(path) for path in WRITTEN if named(path).startswith("service/")]


def test_what_the_service_reads_with_never_loads_torch():
    assert not loading({"torch"}, READ_WITH)


def test_a_run_that_waits_for_its_place_has_not_loaded_torch():
    assert not loading({"torch"}, ["jobs.__main__"])


def test_an_actor_loads_torch_only_with_its_worker():
    assert not loading({"torch"}, ["jobs.ray.actor", "jobs.ray.pool", "workers.actors.merge", "tests.support.fakes"])


def test_an_actor_starts_without_torchvision_and_torchs_compiler():  # which cost two seconds
    assert not loading({"torchvision", "torch._dynamo"}, ["workers.actors.scan", "workers.actors.project"])


def test_the_service_starts_without_torch_and_ray():
    assert not loading({"torch", "ray"}, SERVICE)


def test_the_web_server_starts_without_torch_ray_and_matplotlib():
    assert not loading({"torch", "ray", "matplotlib"}, ["service.http.app", "service.cli.serve"])


def test_pages_and_sheets_never_load_each_other():
    assert not loading({"service.sheets"}, _in("service.atlas.pages"))
    assert not loading({"service.atlas"}, _in("service.sheets"))


def test_a_module_that_loads_torch_is_named():
    assert loading({"torch"}, ["workers.errors", "workers.actors.device"]) == ["workers.actors.device loads torch"]


def _in(package: str) -> list[str]:
    """The modules of a package."""
    modules = [module for module in SERVICE if below(module, {package})]
    assert modules
    return modules


def loading(packages: set[str], modules: list[str]) -> list[str]:
    """Which of some packages are in memory, and by which module, after a fresh process has imported modules in their order."""
    program = f"""
import importlib, sys
seen = set()
for module in {modules!r}:
    importlib.import_module(module)
    fresh = {packages!r} & set(sys.modules) - seen
    seen |= fresh
    for package in sorted(fresh):
        print(module, "loads", package)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    return done.stdout.splitlines()


def test_no_module_has_a_name_that_says_nothing():
    assert not [named(path) for path in MODULES if VAGUE_NAMES & set(Path(named(path)).with_suffix("").parts)]


def test_package_files_are_empty():
    assert not [
        named(path)
        for path in MODULES
        if path.name == "__init__.py" and named(path) != PUBLIC and path.read_text().strip()
    ]


def test_every_folder_with_modules_is_a_package():
    folders = {path.parent for path in MODULES}
    assert not [named(folder) for folder in folders if not (folder / "__init__.py").exists()]


@pytest.mark.parametrize("path", WRITTEN, ids=dotted)
def test_a_module_keeps_to_its_budget_of_lines(path):
    assert len(path.read_text().splitlines()) <= MODULE_LINES


def test_no_function_body_is_longer_than_the_budget():
    long = {
        f"{named(path)}:{function.lineno} {function.name}": length(function)
        for path in MODULES
        for function in functions(path)
        if length(function) > BODY_LINES
    }
    assert not long


def test_the_first_line_of_each_module_is_a_sentence_about_it():
    for path in WRITTEN:
        docstring = ast.get_docstring(ast.parse(path.read_text()), clean=False)
        assert docstring, f"{named(path)} has no docstring"
        assert path.read_text().startswith('"""'), f"{named(path)} begins with something else"
        assert docstring.splitlines()[0].endswith("."), f"{named(path)}: {docstring.splitlines()[0]}"


def test_every_error_says_what_it_means():
    tree = ast.parse((REPOSITORY / "workers" / "errors.py").read_text())
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert classes
    assert not [node.name for node in classes if not ast.get_docstring(node)]


def test_errors_raised_on_purpose_stand_in_the_tree():
    """An exception class elsewhere is private to its module: it never reaches a caller."""
    stray = [
        f"{named(path)}: {node.name}"
        for path in WRITTEN
        if path.name != "errors.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        if any(isinstance(base, ast.Name) and base.id.endswith(("Error", "Exception")) for base in node.bases)
    ]
    assert not stray


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_every_column_of_a_dataset_has_a_doc_and_its_own_field_id(table):
    assert not [field.name for field in table.schema if not (field.metadata or {}).get(b"doc", b"").strip()]
    numbers = [int(field.metadata[b"PARQUET:field_id"]) for field in table.schema]
    assert len(set(numbers)) == len(numbers)
    assert set(table.sorted_by) <= set(table.schema.names)


@pytest.mark.parametrize(
    "schema", [MANIFEST, *RESULTS.values()], ids=lambda schema: schema.metadata[b"deconvoy.schema"].decode()
)
def test_every_column_of_an_internal_file_has_a_doc(schema):
    assert not [field.name for field in schema if not (field.metadata or {}).get(b"doc", b"").strip()]


def test_every_key_of_a_spec_says_its_unit_or_meaning():
    def undescribed(model, place=""):
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields"):
                yield from undescribed(field.annotation, f"{place}{name}.")
            elif not field.description:
                yield f"{place}{name}"

    for kind in (*SPECS.values(), PartBox):
        assert not list(undescribed(kind))
