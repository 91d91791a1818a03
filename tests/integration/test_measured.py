"""The actors' numbers on a real Ray, under the names that the dashboard asks for."""

import time
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families

from jobs.ray.actor import hire
from tests.support.fakes import Reporting
from tests.support.heads import free_port
from tests.unit.deploy.test_watching import of_the_actors
from workers.host import log

pytestmark = [pytest.mark.ray, pytest.mark.slow]
PATIENCE_S = 60


def told(port: int) -> dict[str, tuple[set[str], float]]:
    """Labels of the samples that Ray gives to Prometheus, and their sums."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
    except (URLError, ConnectionError):
        return {}
    samples = [sample for family in families for sample in family.samples if "deconvoy" in sample.name]
    names = {sample.name for sample in samples}
    return {
        name: (
            set().union(*(sample.labels for sample in samples if sample.name == name)),
            sum(sample.value for sample in samples if sample.name == name),
        )
        for name in names
    }


def test_what_the_dashboard_asks_of_the_actors_is_what_ray_gives():
    port = free_port()
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, _metrics_export_port=port)
    try:
        actor = hire(num_cpus=1)
        ray.get(actor.prepare.remote(Reporting, {}, log.form()))
        ray.get([actor.run.remote(item) for item in range(2)])
        until = time.monotonic() + PATIENCE_S
        while len(found := told(port)) < len(of_the_actors()) and time.monotonic() < until:
            time.sleep(1)
    finally:
        ray.shutdown()
    assert {name: value for name, (_, value) in found.items()} == {
        "ray_deconvoy_images_total": 6,
        "ray_deconvoy_rejects_total": 2,
        "ray_deconvoy_actor_seconds_total": 4,
    }
    assert all(labels <= found[name][0] for name, labels in of_the_actors().items())
