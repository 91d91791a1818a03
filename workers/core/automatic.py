"""The layers that `auto` selects. Takes a graph, gives numbers of nodes: for each convolution, where it is best seen."""

from collections.abc import Sequence

from workers.core import joins, norms, rectifiers, resampling, slicing, steps
from workers.core.nodes import Node

_PASSING = (
    steps.BatchNorm,
    norms.LocalNorm,
    norms.GroupNorm,
    steps.Same,
    steps.Scale,
    joins.Add,
    joins.Gate,
    slicing.Shuffle,
)


def is_convolution(node: Node) -> bool:
    """Whether a node applies the same weights at many locations."""
    if isinstance(node.step, steps.Linear):
        return node.shape[1:] != (1, 1)
    return isinstance(node.step, steps.Convolution | resampling.TransposedConvolution)


def automatic(nodes: Sequence[Node]) -> frozenset[int]:
    """For each convolution whose signal reaches the output, the node that shows what it computes."""
    graph = _Graph(nodes)
    return frozenset(
        graph.shown_by(number) for number, node in enumerate(nodes) if is_convolution(node) and number in graph.carrying
    )


class _Graph:
    """Which nodes read which, and which of them carry a signal to the output."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes
        self.users: list[list[int]] = [[] for _ in nodes]
        for number, node in enumerate(nodes):
            for source in dict.fromkeys(node.inputs):
                self.users[source].append(number)
        self.carrying = self._carrying()

    def _carrying(self) -> frozenset[int]:
        """The nodes from which a signal reaches a last node: those that only compute a gate are left out."""
        carrying = {number for number, users in enumerate(self.users) if not users}
        for number in reversed(range(len(self.nodes))):
            if number in carrying:
                node = self.nodes[number]
                carrying |= {source for which, source in enumerate(node.inputs) if node.step.carries(which)}
        return frozenset(carrying)

    def shown_by(self, number: int) -> int:
        """Its first rectifier, or else the last node before maps are concatenated, pooled or convolved.

        The output of a residual block, which is a sum that no rectifier follows at once, ends the way too.
        """
        while True:
            users = [user for user in self.users[number] if self._carries(user, number)]
            rectifying = [user for user in users if isinstance(self.nodes[user].step, rectifiers.Pointwise)]
            passing = [user for user in users if isinstance(self.nodes[user].step, _PASSING)]
            if rectifying:
                return rectifying[0]
            if not passing or len(passing) < len(users) or isinstance(self.nodes[number].step, joins.Add):
                return number
            number = passing[0]

    def _carries(self, user: int, number: int) -> bool:
        """Whether a signal of one node that another node reads reaches the output."""
        node = self.nodes[user]
        return user in self.carrying and any(
            source == number and node.step.carries(which) for which, source in enumerate(node.inputs)
        )
