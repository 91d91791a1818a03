"""The compose file and the Ray cluster file: of their schemas, and agreeing with the commands that they run."""

import json
import os
import shlex
import shutil
import subprocess

import pytest
import yaml
from jsonschema import Draft7Validator
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts import scripts

from tests.support import deployed
from tests.support.commands import parse
from tests.support.deployed import DEPLOY


def ray_start(words: list[str]) -> dict:
    """What `ray start` makes of words."""
    assert words[:2] == ["ray", "start"]
    return scripts.start.make_context("start", words[2:]).params


def test_the_compose_file_is_of_its_schema_and_shows_no_more_than_the_services_port():
    compose = deployed.read("compose.yaml")
    schema = yaml.safe_load((deployed.SCHEMAS / "compose.json").read_text())
    assert not [error.message for error in Draft7Validator(schema).iter_errors(compose)]
    head, service = compose["services"]["head"], compose["services"]["service"]
    started, served = ray_start(head["command"]), parse(service["command"])
    assert started["head"] and started["dashboard_host"] == "127.0.0.1" and service["network_mode"] == "service:head"
    assert served["address"] == f"http://127.0.0.1:{started['dashboard_port']}"
    assert [port.rpartition(":")[2] for port in head["ports"]] == [str(served["port"])] and "ports" not in service
    assert served["root"].startswith("/data/") and served["allow"] == ["/photos"]
    assert head["volumes"] == service["volumes"] and head["environment"] == service["environment"]
    for each in (head, service):
        assert each["read_only"] and each["cap_drop"] == ["ALL"] and each["environment"]["RAY_AUTH_MODE"] == "token"
        assert each["secrets"] == ["ray-token"]
    secrets = {secret for each in compose["services"].values() for secret in each.get("secrets", ())}
    assert secrets == compose["secrets"].keys()
    assert f":{served['port']}/readyz" in service["healthcheck"]["test"][-1]
    assert f":{started['dashboard_port']}/" in head["healthcheck"]["test"][-1]


def has_compose() -> bool:
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0


@pytest.mark.skipif(not has_compose(), reason="Docker Compose reads its file")
def test_compose_takes_its_file():
    told = os.environ | {"DECONVOY_DATA": "/srv/data", "DECONVOY_PHOTOS": "/srv/photos"}
    words = [
        "docker",
        "compose",
        "--file",
        str(DEPLOY / "compose.yaml"),
        "--profile",
        "watch",
        "config",
        "--format",
        "json",
    ]
    done = subprocess.run(words, env=told, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    assert services.keys() == deployed.read("compose.yaml")["services"].keys()
    assert {mount["source"] for mount in services["head"]["volumes"]} == {"/srv/data", "/srv/photos"}


def test_the_cluster_file_is_one_that_ray_takes_and_grows_from_nothing():
    cluster = deployed.read("ray-cluster.yaml")
    validate_config(prepare_config(cluster) | {"setup_commands": []})
    started = [shlex.split(line) for line in cluster["head_start_ray_commands"] if line.startswith("ray start")]
    joined = [shlex.split(line) for line in cluster["worker_start_ray_commands"] if line.startswith("ray start")]
    assert ray_start(started[0])["num_gpus"] == 0 and ray_start(started[0])["dashboard_host"] == "127.0.0.1"
    assert ray_start(joined[0])["metrics_export_port"] == ray_start(started[0])["metrics_export_port"] == 8080
    assert cluster["available_node_types"]["gpu"]["min_workers"] == 0
    assert cluster["available_node_types"]["head"]["resources"]["GPU"] == 0
    assert "--env=RAY_AUTH_MODE=token" in cluster["docker"]["run_options"]
    assert "/home/deconvoy/.ray/auth_token" in cluster["file_mounts"]
