"""Whatever a user can write or read is documented: flags, keys, columns, routes, metrics, environment variables."""

import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.main import get_command

from service.cli.main import app
from tests.support import reference
from workers.kinds import Kind
from workers.spec.kinds import SPECS
from workers.spec.parts import ModelSpec

REPOSITORY = Path(__file__).parents[2]
SOURCES = [path for layer in ("service", "jobs", "workers") for path in (REPOSITORY / layer).rglob("*.py")]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
DOCUMENTED = "\n".join(path.read_text() for path in PAGES)

NO_METRIC = {"deconvoy_attempt"}  # the label that ties a job of Ray's to an attempt

# Flags whose text is their own, since what is typed differs from the key's value or there is no key.
OWN = {"trust_code", "region", "transforms", "translations", "scales", "rotations", "parts", "channels", "from_run", "model",
       "output", "spec", "as_json", "dry_run"}  # fmt: skip


def test_the_committed_reference_is_the_codes():
    assert reference.PAGE.read_text() == reference.page(), "python -m tests.support.reference"


@pytest.mark.parametrize("name", [name for name, _ in reference.commands(get_command(app))])
def test_every_flag_and_argument_has_a_help_text(name):
    [command] = [each for other, each in reference.commands(get_command(app)) if other == name]
    assert command.help
    assert not [each.name for each in command.params if not (getattr(each, "help", "") or "").strip()]


@pytest.mark.parametrize("kind", list(Kind))
def test_a_flag_of_a_job_says_what_its_key_says(kind):
    models: list[type[BaseModel]] = [ModelSpec, SPECS[kind]]
    models += filter(None, map(reference.table, SPECS[kind].model_fields.values()))
    texts = {(field.description or "").lower() for model in models for _, field in reference.keys(model)}
    [command] = [each for name, each in reference.commands(get_command(app)) if name == kind]
    checked = [each for each in command.params if each.name not in OWN | {"help", "corpus"}]
    assert checked
    for each in checked:
        assert each.help.removesuffix(" Repeatable.").removesuffix(".").lower() in texts


def test_every_flag_in_a_table_of_the_documents_exists():
    """The other way round is checked by the reference, which is made from the commands."""
    parameters = [each for _, command in reference.commands(get_command(app)) for each in command.params]
    flags = {flag for each in parameters for flag in (*each.opts, *each.secondary_opts)}
    cells = re.findall(r"^\| (`--.*?) \|", DOCUMENTED, re.MULTILINE)
    named = {flag for cell in cells for flag in re.findall(r"`(--[a-z-]+)", cell)}
    assert len(named) > 60
    assert not named - flags


def test_every_environment_variable_is_documented():
    named = {name for path in SOURCES for name in re.findall(r"\bDECONVOY_[A-Z_]+\b", path.read_text())}
    assert len(named) > 3
    assert not [name for name in named if f"`{name}`" not in DOCUMENTED and f"{name}=" not in DOCUMENTED]


def test_every_metric_is_documented():
    named = {name for path in SOURCES for name in re.findall(r"\"((?:ray_)?deconvoy_[a-z_]+)\"", path.read_text())}
    assert len(named) > 5
    assert not [name for name in sorted(named - NO_METRIC) if name not in DOCUMENTED]


def test_every_route_of_the_api_says_what_it_does():
    described = json.loads((REPOSITORY / "docs" / "openapi.json").read_text())
    operations = [each for path in described["paths"].values() for each in path.values()]
    assert len(operations) > 10
    assert not [each["operationId"] for each in operations if not (each.get("description") or each.get("summary"))]
