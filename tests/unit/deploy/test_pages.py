"""Pages for operators: their commands are ones that deconvoy takes, their manifests of their schemas, their programs Python."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import yaml
from ray.scripts import scripts

from tests.support import deployed
from tests.support.commands import parse
from tests.support.deployed import DEPLOY, REPOSITORY
from workers.kinds import Kind
from workers.spec.kinds import SPECS
from workers.spec.make import make
from workers.spec.toml import read_toml

PAGES = ["deploy", "instruments", "method", "recipes", "service", "tutorial"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def text(page: str) -> str:
    return (REPOSITORY / "docs" / f"{page}.md").read_text()


def blocks(page: str, language: str) -> list[str]:
    return [body for said, body in FENCE.findall(text(page)) if said == language]


def commands(line: str) -> list[list[str]]:
    """The words behind each `deconvoy` of a shell line, or behind the service that Compose runs."""
    words = shlex.split(re.sub(r"\$\(.*?\)|\$\{\{.*?\}\}", "1", line), comments=True)
    if words[:3] == ["docker", "compose", "run"] or "run --rm service" in line:
        words[words.index("service")] = "deconvoy"
    starts = [at for at, word in enumerate(words) if word == "deconvoy" and words[at - 1] != "-n"]
    ends = {">", "||", "&&", "|", ";", "<"}
    return [list(_until(words[at + 1 :], ends)) for at in starts]


def _until(words: list[str], ends: set[str]):
    for word in words:
        if word in ends:
            return
        yield word.rstrip(");")


def lines(page: str) -> list[str]:
    shell = [line[2:] for body in blocks(page, "console") for line in body.splitlines() if line.startswith("$ ")]
    cron = [line for body in blocks(page, "") for line in body.splitlines()]
    scripts = [line for body in blocks(page, "yaml") for line in body.splitlines() if "deconvoy submit" in line]
    return [line for line in (*shell, *cron, *scripts) if "deconvoy" in line]


@pytest.fixture(autouse=True)
def address(monkeypatch):
    monkeypatch.setenv("DECONVOY_ADDRESS", "http://head:8265")


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_is_one_that_deconvoy_takes(page):
    found = [words for line in lines(page) for words in commands(line)]
    assert len(found) >= 4
    for words in found:
        assert parse(words)


def test_rays_commands_on_a_page_are_rays():
    said = [line for body in blocks("deploy", "console") for line in body.splitlines() if line.startswith("$ ray ")]
    assert said and {line.split()[2] for line in said} <= set(scripts.cli.commands)


def test_a_command_that_is_not_one_is_found():
    for wrong in (
        "deconvoy submit run.toml --runn x",
        "deconvoy schedule add nightly",
        "docker compose run --rm service key add",
    ):
        [words] = commands(wrong)
        with pytest.raises(Exception, match=r"option|argument|Missing|key"):
            parse(words)


def test_programs_parse_and_call_the_command_as_it_is():
    programs = [ast.parse(body) for body in blocks("recipes", "python")]
    assert len(programs) == 4
    lists = [node for program in programs for node in ast.walk(program) if isinstance(node, ast.List)]
    words = [[str(part.value) if isinstance(part, ast.Constant) else "x" for part in found.elts] for found in lists]
    [called] = [found for found in words if found[:1] == ["deconvoy"]]
    assert parse(called[1:]) == {**parse(called[1:]), "wait": True, "run": "x"}


def test_the_exit_codes_of_the_recipes_are_the_services():
    table = dict(re.findall(r"^\| (\d+) \| ([a-z ]+)", text("recipes"), re.MULTILINE))
    assert [int(code) for code in table] == [0, 1, 2, 3, 130]
    named = ast.parse(blocks("recipes", "python")[0]).body[2]
    assert isinstance(named, ast.Assign) and ast.literal_eval(named.value) == (0, 1, 3)


def test_manifests_on_the_pages_are_of_their_schemas():
    found = [yaml.safe_load(body) for page in PAGES for body in blocks(page, "yaml")]
    [job] = [each for each in found if "apiVersion" in each]
    assert not deployed.mistakes(job)
    template = job["spec"]["jobTemplate"]["spec"]["template"]
    assert parse([word.replace("$(JOB)", "nightly-1") for word in template["spec"]["containers"][0]["args"]])["wait"]
    pod = deployed.Pod("nightly", template["metadata"]["labels"], template["spec"])
    [head] = [each for each in deployed.pods() if each.of == "deconvoy-ray head"]
    assert deployed.may_leave(pod, head.labels, 8265) and deployed.may_enter("deconvoy", pod.labels, head, 8265)


def test_specs_on_the_pages_are_specs():
    found = [read_toml(body, Path("/")) for page in PAGES for body in blocks(page, "toml")]
    assert found and all(make(SPECS[Kind.SCAN], values) for values in found)


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_links_to_is_there(page):
    links = re.findall(r"\]\((?!https:)([^)#]+)", text(page))
    assert links and not [link for link in links if not (REPOSITORY / "docs" / link).exists()]


def test_the_page_names_every_metric_that_there_is_and_no_other():
    exported = set(re.findall(r"(?:ray_)?deconvoy_[a-z_]+", (DEPLOY / "grafana/deconvoy.json").read_text()))
    told = set(re.findall(r"`((?:ray_)?deconvoy_[a-z_]+)", text("deploy")))
    assert {name.removesuffix("_bucket") for name in exported} == told
