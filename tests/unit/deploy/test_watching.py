"""Prometheus and Grafana: what they ask for is there, by name and by label, where it is asked for."""

import ast
import json
import re
from collections.abc import Iterator
from itertools import combinations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.control.statuses import RunState, Status
from service.control.timetable import Fire
from service.http.metrics import Metrics
from tests.support import deployed
from tests.support.commands import parse
from tests.support.deployed import DEPLOY, NAMESPACE, REPOSITORY
from workers.store.attempts import Progress

DASHBOARD = json.loads((DEPLOY / "grafana/deconvoy.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
SCRAPED = {"job", "instance"}  # labels that Prometheus adds
OF_RAY = {"WorkerId", "NodeAddress"}  # and Ray, as seen of 2.60
METRIC = re.compile(r"\b((?:ray_)?deconvoy_\w+|up)\b(?:\{([^}]*)\})?")
GROUPED = re.compile(r"\b(?:by|ignoring|on|without) \(([^)]*)\)|ignoring\((\w+)\)")


def of_the_service() -> dict[str, set[str]]:
    """The service's metrics with their labels, read as Prometheus reads them."""
    run = Status("flowers", RunState.RUNNING, 1, progress=Progress("2026-11-26", "scan", 1, 2, left_s=3.0))
    metrics = Metrics(lambda: [run], lambda: {"nightly": Fire("2026-11-26T02:00:00+00:00", "nightly-1")})
    metrics.answered("GET", "/", 200, 0.1)
    families = text_string_to_metric_families(metrics.text().decode())
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def of_the_actors() -> dict[str, set[str]]:
    """The actors' counters as Ray gives them to Prometheus: its prefix before, `_total` behind."""
    tree = ast.parse((REPOSITORY / "jobs/ray/actor.py").read_text())
    made = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Counter"]
    assert len(made) == 3
    return {
        f"ray_{ast.literal_eval(call.args[0])}_total": OF_RAY
        | {label for word in call.keywords if word.arg == "tag_keys" for label in ast.literal_eval(word.value)}
        for call in made
    }


KNOWN = of_the_service() | of_the_actors() | {"up": set()}


def rules() -> list[dict]:
    return [rule for group in deployed.read("prometheus/alerts.yaml")["groups"] for rule in group["rules"]]


def questions() -> Iterator[str]:
    """Every expression that the dashboard and the alerts ask."""
    yield from (target["expr"] for panel in PANELS for target in panel["targets"])
    yield from (rule["expr"] for rule in rules())


@pytest.mark.parametrize("question", list(questions()))
def test_a_question_names_metrics_and_labels_that_there_are(question):
    asked = METRIC.findall(question)
    assert asked and not [name for name, _ in asked if name not in KNOWN]
    labels = set().union(*(KNOWN[name] for name, _ in asked)) | SCRAPED | {"le"}
    matched = {label for _, matchers in asked for label in re.findall(r'(\w+)[=!~]+"', matchers)}
    grouped = {
        label.strip() for found in GROUPED.findall(question) for each in found for label in each.split(",") if label
    }
    assert not (matched | grouped) - labels


def test_states_that_are_asked_for_are_states():
    asked = set(re.findall(r'deconvoy_runs\{state="(\w+)"', " ".join(questions())))
    assert asked and asked <= set(RunState)


def test_everything_that_is_counted_is_asked_for():
    asked = {name for question in questions() for name, _ in METRIC.findall(question)}
    counted = {name for name in KNOWN if not name.endswith(("_created", "_sum", "_count"))}
    assert counted == asked


def test_the_dashboard_has_its_panels_side_by_side():
    def cells(panel) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        return {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}

    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert not [(a["title"], b["title"]) for a, b in combinations(panels, 2) if cells(a) & cells(b)]
    assert max(x for panel in panels for x, _ in cells(panel)) == 23
    assert all(panel["title"] and panel["fieldConfig"]["defaults"]["unit"] for panel in PANELS)


def test_grafana_finds_the_dashboard_and_the_source_that_it_asks():
    mounts = dict(volume.split(":")[:2] for volume in deployed.read("compose.yaml")["services"]["grafana"]["volumes"])
    [provider] = deployed.read("grafana/provisioning/dashboards/deconvoy.yaml")["providers"]
    assert mounts["./grafana/deconvoy.json"].startswith(provider["options"]["path"])
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    [source] = deployed.read("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    [variable] = DASHBOARD["templating"]["list"]
    assert variable["type"] == "datasource" and variable["query"] == source["type"] == "prometheus"
    assert {panel["datasource"]["uid"] for panel in PANELS} == {f"${{{variable['name']}}}"}


def test_prometheus_beside_compose_asks_where_the_service_and_ray_listen():
    compose = deployed.read("compose.yaml")["services"]
    jobs = {job["job_name"]: job for job in deployed.read("prometheus/compose.yaml")["scrape_configs"]}
    ray = next(
        word.partition("=")[2] for word in compose["head"]["command"] if word.startswith("--metrics-export-port")
    )
    served = parse(compose["service"]["command"])["port"]
    assert jobs["deconvoy-service"]["static_configs"] == [{"targets": [f"head:{served}"]}]
    assert jobs["deconvoy-ray"]["static_configs"] == [{"targets": [f"head:{ray}"]}]
    [secret] = compose["prometheus"]["secrets"]
    assert jobs["deconvoy-service"]["authorization"]["credentials_file"] == f"/run/secrets/{secret}"
    assert "--config.file=/etc/prometheus/compose.yaml" in compose["prometheus"]["command"]


def test_prometheus_on_kubernetes_keeps_the_pods_and_ports_that_it_means():
    jobs = {job["job_name"]: job for job in deployed.read("prometheus/kubernetes.yaml")["scrape_configs"]}
    pods = list(deployed.pods())
    for name, wanted in (
        ("deconvoy-service", {"deconvoy-service"}),
        ("deconvoy-ray", {pod.of for pod in pods if "ray.io/cluster" in pod.labels}),
    ):
        [found] = jobs[name]["kubernetes_sd_configs"]
        assert found == {"role": "pod", "namespaces": {"names": [NAMESPACE]}}
        [keep] = [rule for rule in jobs[name]["relabel_configs"] if rule.get("action") == "keep"]
        kept = {pod.of for pod in pods for port in pod.ports if _is_kept(keep, pod, port)}
        assert kept == wanted


def _is_kept(rule: dict, pod: deployed.Pod, port: str) -> bool:
    told = {
        f"__meta_kubernetes_pod_label_{re.sub(r'[^A-Za-z0-9]', '_', key)}": value for key, value in pod.labels.items()
    }
    told["__meta_kubernetes_pod_container_port_name"] = port
    return re.fullmatch(rule["regex"], ";".join(told.get(label, "") for label in rule["source_labels"])) is not None


@pytest.mark.parametrize("path", ["compose", "kubernetes"])
def test_prometheus_reads_the_alerts_and_asks_for_no_longer_than_it_waits(path):
    config = deployed.read(f"prometheus/{path}.yaml")
    assert all((DEPLOY / "prometheus" / file).is_file() for file in config["rule_files"])
    every, patience = (int(config["global"][name].rstrip("s")) for name in ("scrape_interval", "scrape_timeout"))
    assert patience < every
    assert config["scrape_configs"][0]["job_name"] in {
        found for rule in rules() for found in re.findall(r'job="([^"]+)"', rule["expr"])
    }


def test_an_alert_says_what_to_do():
    assert len({rule["alert"] for rule in rules()}) == len(rules())
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] in ("page", "ticket") for rule in rules())
