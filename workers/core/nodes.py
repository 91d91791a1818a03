"""A node of a network's graph: one step, its inputs, and the shape of its output."""

from dataclasses import dataclass

from workers.core.steps import Shape, Step


@dataclass(frozen=True, eq=False)
class Node:
    """One step of the graph.

    Attributes:
        name: qualified name in torchvision's feature extraction.
        step: the operation.
        inputs: numbers of its input nodes, which all precede it.
        shape: (channels, height, width) of its output; (0, 0, 0) if that is not a feature map.
        is_output: whether it is the output of the model, or the first of several.
    """

    name: str
    step: Step
    inputs: tuple[int, ...]
    shape: Shape
    is_output: bool = False

    @property
    def is_map(self) -> bool:
        """Whether its output is a feature map."""
        return self.shape != NO_MAP


NO_MAP: Shape = (0, 0, 0)
