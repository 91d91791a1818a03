"""Manifests and kuberay.json against KubeRay's definitions: a folder of the published ones, and ones made here that differ."""

import json
import os
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from tests.support import deployed
from tests.support.definitions import differences, published
from tests.support.deployed import REPOSITORY

WHERE = "DECONVOY_KUBERAY_CRDS"
KINDS = ("RayCluster", "RayJob")
RAY = [found for found in deployed.manifests() if found["kind"] in KINDS]


def spelled_out(schema: dict) -> dict:
    """A schema as definitions have it: without references, and open."""
    _, defs = deployed.schemas()
    schema = defs[schema["$ref"].removeprefix("#/$defs/")] if "$ref" in schema else schema
    told = {key: value for key, value in schema.items() if key not in ("properties", "const")}
    if told.get("additionalProperties") is False:
        del told["additionalProperties"]
    told |= {
        key: spelled_out(told[key]) for key in ("items", "additionalProperties") if isinstance(told.get(key), dict)
    }
    if "properties" in schema:
        told["properties"] = {name: spelled_out(each) for name, each in schema["properties"].items()}
    return told


def definition(kind: str, *changes) -> dict:
    schema = spelled_out({"$ref": f"#/$defs/ray.{kind}"})
    schema["properties"] |= {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
    }
    for change in changes:
        change(schema["properties"]["spec"])
    version = {"name": "v1", "schema": {"openAPIV3Schema": schema}}
    spec = {"group": "ray.io", "names": {"kind": kind}, "versions": [version]}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": spec}


def mistakes(definitions: dict, manifest: dict) -> list[str]:
    schema = definitions[f"{manifest['apiVersion']}/{manifest['kind']}"]
    return [f"{error.json_path}: {error.message[:200]}" for error in Draft7Validator(schema).iter_errors(manifest)]


def told(definitions: dict, kind: str) -> list[str]:
    kinds, defs = deployed.schemas()
    key = f"ray.io/v1/{kind}"
    return list(differences(defs[kinds[key]], definitions[key], defs))


@pytest.fixture
def folder(tmp_path):
    def write(*changes) -> Path:
        for kind in KINDS:
            made = definition(kind, *changes if kind == "RayCluster" else ())
            (tmp_path / f"{kind}.yaml").write_text(json.dumps(made))  # which is YAML, and written faster
        return tmp_path

    return write


def test_definitions_that_say_the_same_have_nothing_against_the_manifests(folder):
    found = published(folder())
    assert found.keys() == {"ray.io/v1/RayCluster", "ray.io/v1/RayJob"}
    assert not [mistake for manifest in RAY for mistake in mistakes(found, manifest)]
    assert not [difference for kind in KINDS for difference in told(found, kind)]


def test_a_field_that_definitions_do_not_have_is_found_in_manifests_and_in_the_schema(folder):
    found = published(folder(lambda spec: spec["properties"].pop("authOptions")))
    cluster = next(manifest for manifest in RAY if manifest["kind"] == "RayCluster")
    assert [mistake for mistake in mistakes(found, cluster) if "authOptions" in mistake]
    assert told(found, "RayCluster") == ["$.spec.authOptions: only here"] and not told(found, "RayJob")


def test_types_words_and_what_is_required_are_compared_and_a_field_more_is_no_difference(folder):
    def other(spec):
        properties = spec["properties"]
        properties["suspend"]["type"] = "string"
        properties["authOptions"]["properties"]["mode"]["enum"] = ["token"]
        properties["workerGroupSpecs"]["items"]["required"] = ["groupName"]
        properties["ttlSecondsAfterIdle"] = {"type": "integer"}
        del properties["managedBy"]["enum"]

    found = told(published(folder(other)), "RayCluster")
    assert [line.partition(":")[0] for line in found] == [
        "$.spec.authOptions.mode",
        "$.spec.suspend",
        "$.spec.workerGroupSpecs[]",
    ]


@pytest.fixture
def crds() -> Path:
    """The folder of the published definitions: another version's where the environment names one, else the shared one."""
    folder = Path(os.environ.get("DECONVOY_SHARED", REPOSITORY.parent / "shared")) / "data" / "kuberay"
    folder = Path(os.environ.get(WHERE, folder))
    if not folder.is_dir() and WHERE not in os.environ:
        pytest.skip(f"no folder of KubeRay's definitions: set {WHERE} or DECONVOY_SHARED")
    return folder


def test_the_published_definitions_have_nothing_against_manifests_and_schema(crds):
    definitions = published(crds)
    assert definitions.keys() >= {f"ray.io/v1/{kind}" for kind in KINDS}
    assert not [mistake for manifest in RAY for mistake in mistakes(definitions, manifest)]
    assert not [difference for kind in KINDS for difference in told(definitions, kind)]
