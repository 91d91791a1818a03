"""Manifests: of their schemas, agreeing with each other and with the command, and closed to whom they are not for."""

import shlex
import shutil
import subprocess
from itertools import product

import pytest
import yaml
from ray.scripts import scripts

from tests.support import deployed
from tests.support.commands import parse
from tests.support.deployed import DEPLOY, NAMESPACE, Pod
from workers.kinds import Kind
from workers.spec.kinds import SPECS
from workers.spec.make import make
from workers.spec.parts import JobSpec
from workers.spec.toml import read_toml

SCRATCH = "/tmp"  # noqa: S108 - in a container
EVERYWHERE = "0.0.0.0"  # noqa: S104 - behind network policies and keys
TOKEN = "/run/secrets/ray/auth_token"  # noqa: S105 - where it is mounted
PODS = list(deployed.pods())
MANIFESTS = deployed.manifests()


def named(name: str) -> Pod:
    [found] = [pod for pod in PODS if pod.of == name]
    return found


def of_kind(kind: str) -> dict:
    [found] = [manifest for manifest in MANIFESTS if manifest["kind"] == kind]
    return found


def title(manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


@pytest.mark.parametrize("manifest", MANIFESTS, ids=title)
def test_a_manifest_is_of_its_schema(manifest):
    assert not deployed.mistakes(manifest)


def test_the_schemas_find_what_is_wrong():
    cluster = of_kind("RayCluster")
    assert deployed.mistakes(cluster | {"spec": cluster["spec"] | {"authOption": {}}})
    pod = {"metadata": {}, "spec": {"containers": [{"name": "a", "imagee": "b"}]}}
    assert deployed.mistakes(cluster | {"spec": {"headGroupSpec": {"rayStartParams": {}, "template": pod}}})
    job = of_kind("CronJob")
    assert deployed.mistakes(job | {"spec": job["spec"] | {"schedules": "* * * * *"}})
    assert deployed.mistakes(job | {"spec": job["spec"] | {"startingDeadlineSeconds": "soon"}})


def test_a_kustomization_names_every_file_beside_it_and_makes_every_config_that_is_mounted():
    made = {"service": {"deconvoy"}, "scan": {"flowers"}}
    for name in deployed.KUSTOMIZATIONS:
        found = deployed.kustomization(name)
        files = {path.name for path in (DEPLOY / "kubernetes" / name).glob("*.yaml")} - {"kustomization.yaml"}
        assert files == set(found["resources"]) and found["namespace"] == NAMESPACE
        assert {each["name"] for each in found["configMapGenerator"]} == made[name]
        sources = [
            file for each in found["configMapGenerator"] for file in each.get("envs", []) + each.get("files", [])
        ]
        assert sources and all((DEPLOY / "kubernetes" / name / file).is_file() for file in sources)
        assert {image["name"] for image in found["images"]} == {"deconvoy-worker", "deconvoy-service"}
    named_configs = {
        volume["configMap"]["name"] for pod in PODS for volume in pod.spec["volumes"] if "configMap" in volume
    }
    named_configs |= {each["configMapRef"]["name"] for pod in PODS for each in pod.container.get("envFrom", ())}
    assert named_configs == made["service"] | made["scan"]
    assert of_kind("Namespace")["metadata"]["name"] == NAMESPACE


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl builds kustomizations")
@pytest.mark.parametrize("name", deployed.KUSTOMIZATIONS)
def test_what_kustomize_builds_is_of_its_schemas_and_takes_images_of_the_registry(name):
    done = subprocess.run(
        ["kubectl", "kustomize", DEPLOY / "kubernetes" / name], capture_output=True, text=True, check=True
    )
    built = list(yaml.safe_load_all(done.stdout))
    assert not [mistake for manifest in built for mistake in deployed.mistakes(manifest)]
    assert {manifest["metadata"].get("namespace", NAMESPACE) for manifest in built} == {NAMESPACE}
    images = [line.split()[-1] for line in done.stdout.splitlines() if line.strip(" -").startswith("image:")]
    assert images and all(image.startswith("registry.example.com/deconvoy-") for image in images)


@pytest.mark.parametrize("pod", PODS, ids=lambda pod: pod.of)
def test_a_pod_is_nobody_in_particular_and_writes_to_tmp_alone(pod):
    person, container = pod.spec["securityContext"], pod.container
    assert (
        person["runAsNonRoot"]
        and person["runAsUser"] == 1000
        and person["seccompProfile"] == {"type": "RuntimeDefault"}
    )
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
    assert mounts.keys() == volumes.keys()
    assert [name for name, mount in mounts.items() if not mount.get("readOnly")] == ["tmp"]
    assert "emptyDir" in volumes["tmp"] and mounts["tmp"]["mountPath"] == SCRATCH
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys() and container["resources"]["limits"]["memory"]
    accounts = {manifest["metadata"]["name"] for manifest in MANIFESTS if manifest["kind"] == "ServiceAccount"}
    assert pod.spec["serviceAccountName"] in accounts


def test_only_a_head_that_scales_its_cluster_may_ask_kubernetes():
    asking = [pod.of for pod in PODS if pod.spec.get("automountServiceAccountToken", True)]
    assert asking == ["deconvoy-ray head"] and of_kind("RayCluster")["spec"]["enableInTreeAutoscaling"]


def test_no_secret_is_written_down():
    assert not [manifest for manifest in MANIFESTS if manifest["kind"] == "Secret"]
    plain = [each for pod in PODS for each in pod.container.get("env", ())]
    assert not [
        each["name"] for each in plain if any(word in each["name"] for word in ("SECRET", "PASSWORD", "ACCESS_KEY"))
    ]
    assert "RAY_AUTH_TOKEN" not in {each["name"] for each in plain}


def test_every_command_in_the_manifests_is_one_that_deconvoy_takes(monkeypatch):
    found = {pod.of: deployed.words(pod) for pod in PODS if pod.container.get("args")}
    assert found.keys() == {"deconvoy-service", "deconvoy-schedules"}
    for words, environment in found.values():
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            told = parse(words)
        assert told["root"] == deployed.settings()["DECONVOY_ROOT"]
        assert told["address"] == "http://deconvoy-ray-head-svc:8265"
    service = parse(found["deconvoy-service"][0])
    assert service["host"] == EVERYWHERE and service["allow"] == [deployed.settings()["DECONVOY_ALLOW"]]
    monkeypatch.setenv("DECONVOY_ADDRESS", "http://head:8265")
    assert parse(found["deconvoy-schedules"][0])["once"]


def test_the_cron_job_looks_once_at_a_time_and_leaves_retries_to_the_next_look():
    spec = of_kind("CronJob")["spec"]
    assert spec["concurrencyPolicy"] == "Forbid" and spec["jobTemplate"]["spec"]["backoffLimit"] == 0
    assert spec["startingDeadlineSeconds"] < 300 and spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] < 300


def test_a_scan_of_its_own_names_its_run_so_that_a_retry_resumes_it():
    job = of_kind("RayJob")["spec"]
    text = (DEPLOY / "kubernetes/scan/run.toml").read_text()
    *python, kind, path = shlex.split(job["entrypoint"])
    spec = make(SPECS[Kind(kind)], read_toml(text, DEPLOY))
    assert isinstance(spec, JobSpec)
    assert python == ["python", "-P", "-m", "jobs"] and path == "/etc/deconvoy/run.toml" and spec.run
    assert job["backoffLimit"] > 0 and job["shutdownAfterJobFinishes"] and "entrypointNumCpus" not in job
    [group] = job["rayClusterSpec"]["workerGroupSpecs"]
    assert spec.resources.device == "cuda" and spec.resources.actors == group["replicas"] == group["minReplicas"]
    for kind in ("head", "worker"):
        assert {"name": "spec", "mountPath": "/etc/deconvoy", "readOnly": True} in named(f"flowers {kind}").container[
            "volumeMounts"
        ]


def test_the_token_that_is_mounted_is_the_clusters_own():
    cluster = of_kind("RayCluster")
    assert all(spec["authOptions"] == {"mode": "token"} for spec in deployed.clusters())
    for pod in (named("deconvoy-service"), named("deconvoy-schedules")):
        environment = deployed.words(pod)[1]
        assert environment["RAY_AUTH_MODE"] == "token" and environment["RAY_AUTH_TOKEN_PATH"] == TOKEN
        [secret] = [volume["secret"] for volume in pod.spec["volumes"] if "secret" in volume]
        assert secret["secretName"] == cluster["metadata"]["name"]
        assert environment["DECONVOY_ADDRESS"] == f"http://{cluster['metadata']['name']}-head-svc:8265"


@pytest.mark.parametrize("number", range(len(deployed.clusters())))
def test_a_head_runs_drivers_and_no_actors_and_gpus_are_whole(number):
    cluster = deployed.clusters()[number]
    head, [group] = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert head["rayStartParams"]["num-gpus"] == head["rayStartParams"]["num-cpus"] == "0"  # drivers take none
    resources = group["template"]["spec"]["containers"][0]["resources"]
    assert resources["requests"] == resources["limits"] and isinstance(resources["limits"]["nvidia.com/gpu"], int)
    known = {option for param in scripts.start.params for option in param.opts}
    for params in (head["rayStartParams"], group["rayStartParams"]):
        assert not [name for name in params if f"--{name}" not in known]


def test_a_cluster_that_grows_from_nothing_is_waited_for():
    [group] = of_kind("RayCluster")["spec"]["workerGroupSpecs"]
    assert group["minReplicas"] == group["replicas"] == 0 < group["maxReplicas"]
    for kind in ("head", "worker"):
        environment = {each["name"]: each["value"] for each in named(f"deconvoy-ray {kind}").container["env"]}
        assert int(environment["DECONVOY_WAIT_FOR_NODES_S"]) >= 600


def test_ports_agree_from_the_command_to_the_probes_and_the_service():
    pod = named("deconvoy-service")
    assert parse(deployed.words(pod)[0])["port"] == pod.ports["http"] == 8000
    probes = {name: pod.container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {probe["port"] for probe in probes.values()} == {"http"}
    assert (
        probes["liveness"]["path"] == probes["startup"]["path"] == "/healthz"
        and probes["readiness"]["path"] == "/readyz"
    )
    service, deployment = of_kind("Service"), of_kind("Deployment")
    assert service["spec"]["ports"][0]["targetPort"] == "http"
    for selector in (
        {"matchLabels": service["spec"]["selector"]},
        deployment["spec"]["selector"],
        of_kind("PodDisruptionBudget")["spec"]["selector"],
    ):
        assert [each.of for each in PODS if deployed.selects(selector, each.labels)] == ["deconvoy-service"]


OTHERS: dict[str, dict[str, str]] = {name: {} for name in ("default", "ingress", "monitoring", "kuberay-operator")}


def entering(pod: Pod, port: int) -> set[str]:
    """Who reaches a port: pods of our namespace, by what they are of, and other namespaces."""
    ours = {
        other.of
        for other in PODS
        if deployed.may_enter(NAMESPACE, other.labels, pod, port) and deployed.may_leave(other, pod.labels, port)
    }
    return ours | {name for name, labels in OTHERS.items() if deployed.may_enter(name, labels, pod, port)}


RAY = {pod.of for pod in PODS if "ray.io/cluster" in pod.labels}


def test_only_those_who_submit_reach_a_heads_dashboard():
    for head in (named("deconvoy-ray head"), named("flowers head")):
        submit = {"deconvoy-service", "deconvoy-schedules", "flowers submitter", "kuberay-operator"}
        assert entering(head, head.ports["dashboard"]) == submit | RAY
        assert entering(head, head.ports["gcs"]) == RAY
        assert entering(head, head.ports["metrics"]) == RAY | {"monitoring"}


def test_only_the_ingress_and_prometheus_reach_the_service():
    service = named("deconvoy-service")
    assert entering(service, service.ports["http"]) == {"ingress", "monitoring"}
    assert not any(entering(pod, 8000) - RAY for pod in PODS if pod.of != "deconvoy-service")


def test_every_pod_may_ask_for_names_for_its_identity_and_for_storage_outside_alone():
    [policy] = [each for each in MANIFESTS if each["metadata"]["name"] == "names-and-storage"]
    names, storage, identities = policy["spec"]["egress"]
    assert policy["spec"]["podSelector"] == {}
    assert {(each["protocol"], each["port"]) for each in names["ports"]} == {("UDP", 53), ("TCP", 53)}
    outside = storage["to"][0]["ipBlock"]
    assert storage["ports"] == [{"protocol": "TCP", "port": 443}] and "10.0.0.0/8" in outside["except"]
    assert all(peer["ipBlock"]["cidr"].startswith("169.254.") for peer in identities["to"])


def test_every_network_policy_is_about_somebody():
    policies = [manifest for manifest in MANIFESTS if manifest["kind"] == "NetworkPolicy"]
    about = [
        [pod for pod in PODS if deployed.selects(policy["spec"]["podSelector"], pod.labels)] for policy in policies
    ]
    assert all(about)
    for pod, direction in product(PODS, ("Ingress", "Egress")):
        assert "nothing" in {policy["metadata"]["name"] for policy in deployed._policies(pod, direction)}
