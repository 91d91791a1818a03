"""An actor that takes its time to start. Takes seconds, sleeps so long in its constructor."""

import time


class SlowStart:
    """Starts after some seconds."""

    def __init__(self, seconds: float) -> None:
        time.sleep(seconds)

    def started(self) -> bool:
        """True, once it has started."""
        return True
