"""What marks a layer, and what its channels see. Takes facts of a layer, gives short words and what they mean."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.query.scans import Unit
    from workers.store.facts import LayerFacts

GATED = (
    "Gated: a factor computed from the image multiplies a map below this layer, as in squeeze-and-excitation. "
    "Projections hold it constant, and the receptive field excludes pixels that affect only the factor."
)
BRANCHES = "The channels of a concatenation come from branches of different depth, so they can have different receptive fields."


def sees(facts: "LayerFacts | Unit", times: str) -> str:
    """The size of a receptive field, or the range of sizes of a layer's channels, in pixels.

    Args:
        facts: the layer or channel.
        times: the sign between height and width.
    """
    largest = facts.field_height, facts.field_width
    least = getattr(facts, "least_field_height", None), getattr(facts, "least_field_width", None)
    sizes = [largest] if None in least else [least, largest]
    are_square = all(height == width for height, width in sizes)
    return " to ".join(str(size[0]) if are_square else f"{size[0]} {times} {size[1]}" for size in sizes) + " px"


def marks(gated: bool | None, obstacle: str | None) -> Mapping[str, str]:
    """The words that mark a layer, with their meanings; empty for an ordinary layer.

    Args:
        gated: whether a factor is held constant in its projections; None if an older run does not record it.
        obstacle: why it has no projections; empty if it has, None if an older run does not record it.
    """
    words = {"gated": GATED} if gated else {}
    return words | ({"no projections": f"No projections, because of {obstacle}."} if obstacle else {})
