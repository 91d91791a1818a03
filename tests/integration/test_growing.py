"""A cluster that grows by itself: a run waits for the GPUs that it asks for, if its operator says that they come."""

import tempfile
import threading

import pytest
import ray
from ray.cluster_utils import Cluster

from jobs.ray import cluster
from workers.errors import UsageError
from workers.spec.parts import ResourcesSpec

pytestmark = pytest.mark.ray
ONE = ResourcesSpec(device="cuda", actors=1)


@pytest.fixture(scope="module")
def small():
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder,
    ):
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        patch.delenv("RAY_ADDRESS", raising=False)
        head = {"num_cpus": 1, "num_gpus": 0, "include_dashboard": False, "temp_dir": folder}
        found = Cluster(initialize_head=True, head_node_args=head)
        ray.init(address=found.address, log_to_driver=False)
        yield found
        ray.shutdown()
        found.shutdown()


def test_a_gpu_that_is_not_there_is_refused_at_once_waited_for_in_vain_or_waited_for(small, monkeypatch):
    said: list[str] = []
    cluster.grow(ONE, "cuda", said.append)
    with pytest.raises(UsageError, match="the Ray cluster has no GPU"):
        cluster.resolve_device("cuda")
    assert not said

    monkeypatch.setenv(cluster.PATIENCE, "1")
    assert cluster.resolve_device("cuda") == "cuda"
    cluster.grow(ONE, "cuda", said.append)
    with pytest.raises(UsageError, match="the cluster has room for 0"):
        cluster.initial_actors(ONE, "cuda")
    assert cluster.expected_actors(ResourcesSpec(device="cuda", actors=4), "cuda") == 4, (
        "a plan counts on nodes to come"
    )
    assert cluster.expected_actors(ResourcesSpec(device="cuda"), "cuda") == 1

    monkeypatch.setenv(cluster.PATIENCE, "60")
    waits = threading.Thread(target=cluster.grow, args=(ONE, "cuda", said.append))
    waits.start()
    small.add_node(num_cpus=1, num_gpus=1)  # from the main thread, as Ray wants it
    waits.join(timeout=30)
    assert not waits.is_alive()
    assert cluster.initial_actors(ONE, "cuda") == 1
    assert said == ["waiting for nodes for 1 actor"] * 2

    cluster.grow(ONE, "cuda", said.append)
    assert len(said) == 2, "what is there is not waited for"


def test_a_patience_that_is_no_number_is_named(monkeypatch):
    monkeypatch.setenv(cluster.PATIENCE, "soon")
    with pytest.raises(UsageError, match="DECONVOY_WAIT_FOR_NODES_S=soon is not a whole number of seconds"):
        cluster.grow(ONE, "cuda", print)
