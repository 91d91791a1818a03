"""What marks a layer. Takes facts of a layer, gives short words and what they mean."""

from collections.abc import Mapping

GATED = (
    "Gated: a factor computed from the image multiplies a map below this layer, as in squeeze-and-excitation. "
    "Projections hold it constant, and the receptive field excludes pixels that affect only the factor."
)


def marks(gated: bool | None, obstacle: str | None) -> Mapping[str, str]:
    """The words that mark a layer, with their meanings; empty for an ordinary layer.

    Args:
        gated: whether a factor is held constant in its projections; None if an older run does not record it.
        obstacle: why it has no projections; empty if it has, None if an older run does not record it.
    """
    words = {"gated": GATED} if gated else {}
    return words | ({"no projections": f"No projections, because of {obstacle}."} if obstacle else {})
