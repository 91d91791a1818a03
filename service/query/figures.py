"""Numbers as people read them, on pages, sheets and in commands. Takes a measured value, gives it as text."""

PLAIN_FROM, PLAIN_BELOW = 1e-4, 1e9  # magnitudes that are written without an exponent
THOUSAND = 1000


def readable(value: float, digits: int = 3) -> str:
    """A score or another measured value to some significant digits; from 1,000 on, all digits of its whole part."""
    rounded = float(f"{value:.{digits}g}") + 0.0  # no negative zero
    if rounded and not PLAIN_FROM <= abs(rounded) < PLAIN_BELOW:
        return f"{rounded:.{digits - 1}e}"
    return f"{value:,.0f}" if abs(rounded) >= THOUSAND else f"{rounded:g}"
