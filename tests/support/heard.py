"""A watcher that listens. Takes what a run says, keeps the lines."""

from jobs.watch import SilentWatcher


class Heard(SilentWatcher):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str, **about: object) -> None:
        del about
        self.said.append(line)
