"""What deploy/ says. Reads its files and gives manifests with schemas, pods with their labels, commands, and who reaches whom."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft7Validator

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
SCHEMAS = Path(__file__).parent / "schemas"
KUSTOMIZATIONS = ("service", "scan")
NAMESPACE = "deconvoy"

Manifest = dict[str, Any]


def read(path: str) -> Any:
    """The one document of a YAML file of deploy/."""
    return yaml.safe_load((DEPLOY / path).read_text())


def kustomization(name: str) -> Manifest:
    return read(f"kubernetes/{name}/kustomization.yaml")


@cache
def manifests() -> tuple[Manifest, ...]:
    """Every manifest that a kustomization names."""
    files = [
        DEPLOY / "kubernetes" / name / file for name in KUSTOMIZATIONS for file in kustomization(name)["resources"]
    ]
    return tuple(found for file in files for found in yaml.safe_load_all(file.read_text()))


def settings() -> dict[str, str]:
    """What the generated ConfigMap holds."""
    lines = (DEPLOY / "kubernetes/service/settings.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@cache
def schemas() -> tuple[dict[str, str], dict[str, Any]]:
    """Names of schemas by `group/version/kind`, and the schemas."""
    both = [json.loads((SCHEMAS / f"{name}.json").read_text()) for name in ("kubernetes", "kuberay")]
    return both[0]["kinds"] | both[1]["kinds"], both[0]["$defs"] | both[1]["$defs"]


def mistakes(manifest: Manifest) -> list[str]:
    """What the schema of its kind has against a manifest."""
    kinds, defs = schemas()
    kind = kinds[f"{manifest['apiVersion']}/{manifest['kind']}"]
    validator = Draft7Validator({"$ref": f"#/$defs/{kind}", "$defs": defs})
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(manifest)]


@dataclass(frozen=True)
class Pod:
    """A pod that a manifest makes, with the labels that KubeRay adds to Ray's."""

    of: str
    labels: Mapping[str, str]
    spec: Manifest

    @property
    def container(self) -> Manifest:
        """Its one container."""
        [found] = self.spec["containers"]
        return found

    @property
    def ports(self) -> dict[str, int]:
        """Its container's ports by name."""
        return {port["name"]: port["containerPort"] for port in self.container.get("ports", ())}


def _ray(of: str, kind: str, template: Manifest) -> Pod:
    added = {"ray.io/is-ray-node": "yes", "ray.io/node-type": kind, "ray.io/cluster": of}
    return Pod(f"{of} {kind}", template["metadata"]["labels"] | added, template["spec"])


def _of_cluster(of: str, spec: Manifest) -> Iterator[Pod]:
    yield _ray(of, "head", spec["headGroupSpec"]["template"])
    for group in spec["workerGroupSpecs"]:
        yield _ray(of, "worker", group["template"])


def pods() -> Iterator[Pod]:
    """Every pod that there will be."""
    for manifest in manifests():
        of, spec = manifest["metadata"]["name"], manifest.get("spec", {})
        if manifest["kind"] == "RayCluster":
            yield from _of_cluster(of, spec)
        elif manifest["kind"] == "RayJob":
            yield from _of_cluster(of, spec["rayClusterSpec"])
            yield Pod(
                f"{of} submitter",
                spec["submitterPodTemplate"]["metadata"]["labels"],
                spec["submitterPodTemplate"]["spec"],
            )
        elif manifest["kind"] in ("Deployment", "CronJob"):
            template = spec.get("jobTemplate", {}).get("spec", spec)["template"]
            yield Pod(of, template["metadata"]["labels"], template["spec"])


def clusters() -> list[Manifest]:
    """The specs of Ray clusters."""
    specs = [found["spec"] for found in manifests() if found["kind"] in ("RayCluster", "RayJob")]
    return [spec.get("rayClusterSpec", spec) for spec in specs]


def words(pod: Pod) -> tuple[list[str], dict[str, str]]:
    """The arguments of a pod's container and its environment, as Kubernetes fills them in."""
    known = dict(settings()) if pod.container.get("envFrom") else {}
    known |= {each["name"]: each["value"] for each in pod.container.get("env", ())}
    return [
        re.sub(r"\$\((\w+)\)", lambda found: known[found[1]], word) for word in pod.container.get("args", ())
    ], known


def selects(selector: Manifest, labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches."""
    equal = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    rules = selector.get("matchExpressions", ())
    assert all(rule["operator"] == "In" for rule in rules)
    return equal and all(labels.get(rule["key"]) in rule["values"] for rule in rules)


def may_enter(namespace: str, labels: Mapping[str, str], pod: Pod, port: int) -> bool:
    """Whether the network policies let somebody reach a pod's port."""
    rules = [rule for policy in _policies(pod, "Ingress") for rule in policy["spec"].get("ingress", ())]
    return any(_is_port(rule, port) and _is_peer(rule.get("from"), namespace, labels) for rule in rules)


def may_leave(pod: Pod, labels: Mapping[str, str], port: int) -> bool:
    """Whether the network policies let a pod reach a port of another of its namespace."""
    rules = [rule for policy in _policies(pod, "Egress") for rule in policy["spec"].get("egress", ())]
    return any(_is_port(rule, port) and _is_peer(rule.get("to"), NAMESPACE, labels) for rule in rules)


def _policies(pod: Pod, direction: str) -> list[Manifest]:
    found = [manifest for manifest in manifests() if manifest["kind"] == "NetworkPolicy"]
    mine = [
        one
        for one in found
        if direction in one["spec"]["policyTypes"] and selects(one["spec"]["podSelector"], pod.labels)
    ]
    assert mine, f"{pod.of} has no policy, and everything reaches it"
    return mine


def _is_port(rule: Manifest, port: int) -> bool:
    return "ports" not in rule or port in [each["port"] for each in rule["ports"]]


def _is_peer(peers: list[Manifest] | None, namespace: str, labels: Mapping[str, str]) -> bool:
    return peers is None or any(_is_one(peer, namespace, labels) for peer in peers)


def _is_one(peer: Manifest, namespace: str, labels: Mapping[str, str]) -> bool:
    if "ipBlock" in peer:
        return False
    wanted = peer.get("namespaceSelector", {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}})
    return selects(wanted, {"kubernetes.io/metadata.name": namespace}) and selects(peer.get("podSelector", {}), labels)
