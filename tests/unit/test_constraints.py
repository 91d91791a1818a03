"""The pins of development installs: every direct dependency has one that pyproject.toml takes, and the images agree with them."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
DIRECT = [*PROJECT["dependencies"], *(one for extra in PROJECT["optional-dependencies"].values() for one in extra)]


def pins(path: str) -> dict[str, str]:
    """Versions by name; a line that is anything but `name==version` fails, such as a path, a URL or a local version."""
    lines = [line for line in (REPOSITORY / path).read_text().splitlines() if not line.startswith("#")]
    assert not [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


@pytest.mark.parametrize("dependency", sorted(set(DIRECT)))
def test_a_direct_dependency_is_pinned_to_a_version_that_the_project_takes(dependency):
    wanted = Requirement(dependency)
    assert wanted.specifier.contains(pins("constraints.txt")[canonicalize_name(wanted.name)])


def test_the_images_are_pinned_to_the_versions_that_the_tests_run_with():
    tested = pins("constraints.txt")
    images = pins("deploy/images/constraints.txt")
    assert {name: tested[name] for name in images} == images


def test_every_direct_dependency_has_a_floor_which_make_lowest_tries():
    assert not [one for one in DIRECT if ">=" not in one]
