"""Whatever a user gives: an exit code, and one line that says what is wrong. Specs, flags, weights and surroundings.

`make test` tries some hundred cases in seconds, `make soak` many more; the cases are the same each time.
"""

import io
import json
import string
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from service.cli.main import app
from tests.support import corpora
from tests.support.published import publish
from workers.errors import ModelError, UsageError
from workers.models import architectures, weights
from workers.models.families.family import Architecture
from workers.spec.make import make
from workers.spec.scan import RunSpec
from workers.spec.toml import read_toml
from workers.store.root import Root

CODES = {0, 1, 2, 3, 130}
MODEL = "deconvoy://zfnet-mini"
SIGNS = ("\x1b", "\u202e", "\0")
# What breaks programs: ends, signs that steer, numbers at the edge, names that are no files.
NASTY = [
    "", " ", "-", "--", "-1", "0", "1e999", "nan", "9" * 30, "9" * 5000, "a" * 5000, "\x1b[2J\u202e\n", "a\0b", "\udcff",
    "/dev/null", "/dev/zero", "/proc/self/mem", "/", "..", "~", "~nobody/x", "::", "nosuch://x", "s3://b/k", "file://",
    "memory://x", "data:,x", "zip://a::b", "github://x", "torchvision://", "torchvision://resnet18?weights=w", "auto", "[a",
    "(" * 30, "{", "*", "SELECT 1/0", "DROP TABLE top", "deconvoy://", "deconvoy://zfnet", f"{MODEL}?weights=/dev/zero",
]  # fmt: skip
TEXT = st.one_of(st.sampled_from(NASTY), st.text(max_size=20))
NUMBER = st.one_of(st.integers(), st.integers(-(10**40), 10**40), st.floats())
VALUE = st.recursive(
    st.one_of(TEXT, NUMBER, st.booleans(), st.lists(st.floats(), min_size=3, max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=4,
)
TOML = st.text(alphabet=[*string.printable, *"[[]]{}==..\"\"''#\n\ufeff", "é", "\x00"], max_size=60)
NESTED = st.builds(
    lambda depth, ends: "a = " + depth * ends[0] + "1" + depth * ends[1],
    st.integers(0, 6000),
    st.sampled_from([("[", "]"), ("{a = ", "}")]),
)
LEAST = f'root = "r"\nmodel.source = "{MODEL}"\ncorpus.source = "c"\n'
ANY_TOML = st.one_of(TOML, NESTED, st.builds("{}{}{}".format, st.sampled_from(["", "\ufeff"]), st.just(LEAST), TOML))


def keys_of(kind: Any, prefix: str = "") -> list[str]:
    """Every key of a spec, with its table before it."""
    found = []
    for name, field in kind.model_fields.items():
        is_table = hasattr(field.annotation, "model_fields")
        found += keys_of(field.annotation, f"{name}.") if is_table else [f"{prefix}{name}"]
    return found


def nested(values: dict[str, Any]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for key, value in values.items():
        table, _, name = key.rpartition(".")
        (whole.setdefault(table, {}) if table else whole)[name] = value
    return whole


class Command:
    """Runs the command in this process and holds every end of it to the rule."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: str, **environment: str | None) -> None:
        result = CliRunner().invoke(app, list(words), env=environment)
        told = f"{words} {environment}: {result.output} {result.exc_info}"
        assert result.exception is None or isinstance(result.exception, SystemExit), told
        assert result.exit_code in CODES and "Traceback" not in result.output, told
        if "Usage: " in result.stderr:  # words that are no flags are explained by typer, in a box
            return
        lines = [line for line in result.stderr.splitlines() if line.startswith("deconvoy: ")]
        assert len(lines) == (1 if result.exit_code else 0), told
        assert not any(sign in result.output for sign in SIGNS), told

    def file(self, name: str, data: bytes) -> str:
        (self.folder / name).write_bytes(data)
        return str(self.folder / name)


@pytest.fixture(scope="module")
def command(tmp_path_factory) -> Command:
    folder = tmp_path_factory.mktemp("place")
    corpora.photos(folder / "photos", range(3))
    publish(Root(str(folder / "root")))
    return Command(folder)


def tried(examples: int, check: Callable[..., None], **strategies: st.SearchStrategy[Any]) -> None:
    """Hold a check to so many cases."""
    given(**strategies)(settings(max_examples=examples, suppress_health_check=list(HealthCheck))(check))()


def many(some: int, soak: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("examples", [some, pytest.param(soak, marks=pytest.mark.slow)])


@many(300, 20_000)
def test_a_spec_of_any_values_is_made_or_refused(examples):
    def check(values: dict[str, Any]) -> None:
        least = {"root": "r", "model.source": MODEL, "corpus.source": "c"}
        try:
            made = make(RunSpec, nested(least | values))
        except UsageError as error:
            assert str(error)
        else:
            json.dumps(made.model_dump(mode="json"), allow_nan=False)

    tried(examples, check, values=st.dictionaries(st.sampled_from(keys_of(RunSpec)), VALUE, min_size=1, max_size=3))


@many(300, 20_000)
def test_a_spec_of_any_text_is_read_or_refused(examples):
    def check(text: str) -> None:
        try:
            make(RunSpec, read_toml(text, Path("/specs")))
        except UsageError as error:
            assert str(error)

    tried(examples, check, text=ANY_TOML)


@many(30, 1000)
def test_a_spec_file_of_any_bytes_is_one_line(examples, command):
    def check(data: bytes) -> None:
        command("scan", "--dry-run", "--spec", command.file("spec.toml", data))

    bytes_of = st.one_of(st.binary(max_size=60), ANY_TOML.map(lambda text: text.encode("utf-8", "replace")))
    tried(examples, check, data=bytes_of)


@many(60, 2000)
def test_a_network_of_any_arguments_is_measured_or_refused(examples):
    def check(arguments: dict[str, Any]) -> None:
        architecture = Architecture("torchvision", "resnet18", tuple(sorted(arguments.items())))
        try:
            assert architectures.size_bytes(architectures.outline(architecture)) <= architectures.LARGEST_BYTES
        except ModelError as error:
            assert len(str(error).splitlines()) == 1

    names = st.sampled_from(
        ["num_classes", "width_per_group", "groups", "norm_layer", "progress", "zero_init_residual", "x"]
    )
    plain = st.one_of(TEXT, NUMBER, st.booleans(), st.integers(0, 10**12))
    tried(examples, check, arguments=st.dictionaries(names, plain, min_size=1, max_size=2))


QUESTIONS = {
    ("query", "top"): ("--layer", "--channel"),
    ("query", "units"): ("--layer",),
    ("query", "sheet"): ("--layer", "--channels"),
    ("query", "results"): ("--run",),
    ("compare",): (),
    ("status",): (),
    ("schedule", "list"): (),
    ("gc", "--dry-run"): (),
}
SCANS = {
    ("scan", "--dry-run"): (
        "--model",
        "--corpus",
        "--layers",
        "--k",
        "--batch",
        "--shard",
        "--run",
        "--actors",
        "--crop",
    ),
    ("evolve",): ("--model", "--checkpoints", "--corpus"),
    ("layers",): (),
}


@many(60, 3000)
def test_questions_with_any_flags_are_one_line(examples, command):
    def check(words: tuple[str, ...], values: list[str], where: str | None) -> None:
        flags = [part for flag, value in zip(QUESTIONS[words], values, strict=False) for part in (flag, value)]
        command(*words, *flags, "--root", str(command.folder / "root") if where is None else where)

    values = st.lists(TEXT, min_size=2, max_size=2)
    tried(examples, check, words=st.sampled_from([*QUESTIONS]), values=values, where=st.one_of(st.none(), TEXT))


@many(25, 2000)
def test_scans_with_any_flags_are_one_line(examples, command):
    def check(words: tuple[str, ...], flags: dict[str, str]) -> None:
        given_flags = {flag: value for flag, value in flags.items() if flag in SCANS[words]}
        least = {"--model": MODEL, "--corpus": str(command.folder / "nothing"), "--root": str(command.folder / "new")}
        known = least if SCANS[words] else {}
        argument = [] if SCANS[words] else [flags.get("--model", MODEL)]
        command(*words, *argument, *(part for pair in (known | given_flags).items() for part in pair))
        assert not (command.folder / "new").exists()

    names = sorted({flag for flags in SCANS.values() for flag in flags})
    flags = st.dictionaries(st.sampled_from(names), TEXT, min_size=1, max_size=2)
    tried(examples, check, words=st.sampled_from([*SCANS]), flags=flags)


def saved(ending: str) -> bytes:
    """A small file of weights."""
    state = {"conv1.bias": torch.ones(4), "conv2.bias": torch.ones(3)}
    if ending == "safetensors":
        return safetensors.torch.save(state)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def damaged(data: bytes, changes: list[tuple[float, int]], kept: float) -> bytes:
    """A file with some bytes changed and its end cut off."""
    changed = bytearray(data)
    for place, value in changes:
        changed[int(place * (len(changed) - 1))] = value
    return bytes(changed[: int(kept * len(changed))])


DAMAGE = {
    "changes": st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    "kept": st.one_of(st.just(1.0), st.floats(0, 1)),
}


@many(300, 20_000)
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_damaged_weights_are_read_or_refused(ending, examples, tmp_path):
    whole, path = saved(ending), tmp_path / f"w.{ending}"

    def check(changes: list[tuple[float, int]], kept: float) -> None:
        path.write_bytes(damaged(whole, changes, kept))
        try:
            state = weights.read(str(path)).state
            [weights.convert(key, tensor, torch.ones(1), "w") for key, tensor in state.items()]
        except ModelError as error:
            assert len(str(error).splitlines()) == 1

    tried(examples, check, **DAMAGE)


TENSOR = st.fixed_dictionaries(
    {
        "dtype": st.one_of(st.sampled_from(["F32", "F16", "I64", "BOOL", "F8_E4M3", "F8_E8M0", "F4", "C64"]), TEXT),
        "shape": st.lists(st.one_of(st.integers(0, 3), st.integers(-(10**20), 10**20)), max_size=3),
        "data_offsets": st.lists(st.one_of(st.integers(0, 12), st.integers(-(10**20), 10**20)), min_size=1, max_size=3),
    }
)


@many(200, 10_000)
def test_any_header_of_safetensors_is_read_or_refused(examples, tmp_path):
    path = tmp_path / "w.safetensors"

    def check(header: Any, data: bytes, length: int | None) -> None:
        told = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(told) if length is None else length) + told + data)
        try:
            weights.read(str(path))
        except ModelError as error:
            assert len(str(error).splitlines()) == 1

    headers = st.one_of(st.dictionaries(TEXT, st.one_of(TENSOR, VALUE), max_size=3), VALUE)
    length = st.one_of(st.none(), st.integers(0, 2**64 - 1))
    tried(examples, check, header=headers, data=st.binary(max_size=12), length=length)


@many(10, 300)
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_damaged_weights_are_one_line_of_the_command(ending, examples, command):
    whole = saved(ending)

    def check(changes: list[tuple[float, int]], kept: float) -> None:
        path = command.file(f"w.{ending}", damaged(whole, changes, kept))
        command("layers", f"{MODEL}?weights={path}")

    tried(examples, check, **DAMAGE)


@many(12, 300)
def test_in_any_surroundings_the_command_is_one_line(examples, command):
    names = [
        "HOME",
        "TMPDIR",
        "LANG",
        "LC_ALL",
        "COLUMNS",
        "LINES",
        "TERM",
        "NO_COLOR",
        "FORCE_COLOR",
        "XDG_CACHE_HOME",
    ]
    ours = ["DECONVOY_LOG_FORMAT", "DECONVOY_STORE_PATIENCE_S", "DECONVOY_WAIT_FOR_NODES_S", "DECONVOY_DRIVER_CPUS"]
    words = [
        ("query", "units", "--layer", "relu1", "--root", str(command.folder / "root")),
        ("scan", "--dry-run", "--model", MODEL, "--corpus", str(command.folder / "photos"), "--root", "new"),
        ("evolve", "--model", MODEL, "--checkpoints", "a", "--corpus", "c", "--root", "r"),
    ]

    def check(words: tuple[str, ...], environment: dict[str, str | None]) -> None:
        command(*words, **environment)

    value = st.one_of(st.none(), TEXT.filter(lambda text: "\0" not in text and "\udcff" not in text))
    environment = st.dictionaries(st.sampled_from(names + ours), value, max_size=3)
    tried(examples, check, words=st.sampled_from(words), environment=environment)
