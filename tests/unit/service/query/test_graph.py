"""The map of a network: the edges are those of walking the graph, and lines lead where the edges do."""

import json
from typing import Any

import pytest
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from service.query import catalog, graph
from tests.support.asking import atlas_of
from tests.support.published import CHANNELS, publish
from workers.core.graph import trace
from workers.models import stored
from workers.store import paths
from workers.store.root import Root

LAYERS = list(CHANNELS)


def nodes_of(edges: dict[str, list[str]]) -> list[dict[str, Any]]:
    names = list(edges)
    return [{"name": name, "inputs": [names.index(source) for source in edges[name]]} for name in names]


def put(root: Root, nodes: Any, mark: str = "none") -> None:
    head = json.dumps({"__metadata__": {graph.GRAPH: json.dumps(nodes)}}).encode()
    root.put(paths.model_path(mark), len(head).to_bytes(8, "little") + head + bytes(100))


def walk(edges: dict[str, list[str]], name: str, wanted: set[str]) -> set[str]:
    """The wanted nodes that can be reached against the edges without passing another one."""
    found = set()
    for source in edges[name]:
        found |= {source} if source in wanted else walk(edges, source, wanted)
    return found


@st.composite
def graphs(draw) -> tuple[dict[str, list[str]], set[str]]:
    count = draw(st.integers(2, 12))
    names = [f"n{number}" for number in range(count)]
    edges: dict[str, list[str]] = {"n0": []}
    for number in range(1, count):
        edges[names[number]] = draw(st.lists(st.sampled_from(names[:number]), min_size=1, max_size=3, unique=True))
    return edges, set(draw(st.lists(st.sampled_from(names[1:]), min_size=1, unique=True)))


@given(graphs())
def test_edges_are_those_of_walking_the_graph(drawn):
    edges, wanted = drawn
    parents = graph._contract(nodes_of(edges), wanted)
    assert {name: set(sources) for name, sources in parents.items()} == {
        name: walk(edges, name, wanted) for name in wanted
    }
    assert all(list(sources) == sorted(sources, key=list(edges).index, reverse=True) for sources in parents.values())


def follow(order: list[str], rails: tuple[graph.Rail, ...], child: int) -> set[str]:
    """The layers to which the lines lead that leave a layer."""
    ends = set()
    for lane in [end for start, end in rails[child].below if start == rails[child].lane]:
        at = lane
        for number in range(child + 1, len(order)):
            [end] = [end for start, end in rails[number].above if start == at]
            if end == rails[number].lane:
                ends.add(order[number])
                break
            assert (at, at) in rails[number].below
    return ends


@given(graphs())
def test_lines_lead_from_each_layer_to_those_that_feed_it_and_nowhere_else(drawn):
    edges, wanted = drawn
    parents = graph._contract(nodes_of(edges), wanted)
    order = [name for name in reversed(edges) if name in wanted]
    rails = graph.rails(order, parents)
    for number, name in enumerate(order if rails else []):
        assert follow(order, rails, number) == set(parents[name])
        starts = [start for start, _ in rails[number].above]
        assert len(starts) == len(set(starts)) and (number or not starts)
    assert not rails or not rails[-1].below


def test_a_residual_network_has_its_branches():
    module = torchvision.models.resnet18(weights=None).eval()
    nodes: list[dict[str, Any]] = [{"name": node.name, "inputs": list(node.inputs)} for node in trace(module, (64, 64))]
    names = {node["name"] for node in nodes if "relu" in node["name"]}
    parents = graph._contract(nodes, names)
    assert parents["layer1.0.relu_1"] == ("layer1.0.relu", "relu") and parents["relu"] == ()
    assert parents["layer2.0.relu"] == ("layer1.1.relu_1",)
    order = [node["name"] for node in reversed(nodes) if node["name"] in names]
    assert graph.count_lanes(graph.rails(order, parents)) == 2


def test_the_key_of_the_graph_is_that_of_the_stored_network():
    assert stored.GRAPH == graph.GRAPH


def test_a_chain_is_one_lane():
    order = ["c", "b", "a"]
    rails = graph.rails(order, {"c": ("b",), "b": ("a",), "a": ()})
    assert [(rail.lane, rail.above, rail.below) for rail in rails] == [
        (0, (), ((0, 0),)),
        (0, ((0, 0),), ((0, 0),)),
        (0, ((0, 0),), ()),
    ]


def test_a_network_of_too_many_lanes_has_no_map():
    names = [f"n{number}" for number in range(12)]
    parents = {name: tuple(reversed(names[:number])) for number, name in enumerate(names)}
    assert graph.rails(list(reversed(names)), parents) == ()
    assert graph.rails(list(reversed(names[:4])), parents) != ()


def test_the_page_of_a_run_shows_the_map(tmp_path):
    root = Root(str(tmp_path))
    publish(root)
    client = atlas_of(root)
    assert 'class="rail"' not in client.get("/runs/first").text  # the network is not stored
    put(
        root,
        nodes_of({"input": [], "relu1": ["input"], "relu2": ["relu1"], "relu3": ["relu2", "relu1"], "fc": ["relu3"]}),
    )
    page, data = atlas_of(root).get("/runs/first").text, atlas_of(root).get("/runs/first.json").json()
    assert page.count('class="rail"') == len(LAYERS)
    assert {layer["name"]: layer["parents"] for layer in data["layers"]} == {
        "relu1": [], "relu2": ["relu1"], "relu3": ["relu2", "relu1"], "fc": ["relu3"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\x00",
        (1 << 40).to_bytes(8, "little"),
        (5).to_bytes(8, "little") + b"{}",
        (9).to_bytes(8, "little") + b'{"a": [1]}',
    ],
)
def test_a_damaged_network_costs_the_map_alone(tmp_path, damage):
    root = Root(str(tmp_path))
    publish(root)
    root.put(paths.model_path("none"), damage)
    assert graph.read_parents(catalog.find(root)) == {}
    assert atlas_of(root).get("/runs/first").status_code == 200


def test_a_network_with_other_layers_has_no_map(tmp_path):
    root = Root(str(tmp_path))
    publish(root)
    for nodes in (
        nodes_of({"input": [], "conv": ["input"]}),
        [{"name": "relu1", "inputs": [7]}],
        [{"name": "relu1"}],
        {"a": 1},
    ):
        put(root, nodes)
        assert graph.read_parents(catalog.find(root)) == {}
