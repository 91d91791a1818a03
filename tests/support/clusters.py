"""A cluster that only remembers. Takes submissions, gives the states that a test says."""

from service.control.clusters import State
from workers.errors import ClusterError, NoAnswer

SPEC = {
    "model": {"source": "deconvoy://zfnet-mini"},
    "corpus": {"source": "s3://bucket/photos"},
}  # of a scan without run id


class FakeCluster:
    """Jobs are running until a test says otherwise; `down` makes it answer nothing."""

    name = "http://fake:8265"

    def __init__(self) -> None:
        self.jobs: dict[str, State] = {}
        self.asked: list[tuple[str, str, int]] = []
        self.down = False

    def check(self) -> None:
        self._answer()

    def submit(self, submission_id: str, root: str, run: str, number: int) -> None:
        self._answer()
        if submission_id in self.jobs:
            raise ClusterError(f"{submission_id} was used before")
        self.jobs[submission_id] = State.RUNNING
        self.asked.append((root, run, number))

    def state(self, submission_id: str, *, insist: bool = False) -> tuple[State, str]:  # noqa: ARG002 - never silent
        self._answer()
        return self.jobs.get(submission_id, State.UNKNOWN), "as the test says"

    def stop(self, submission_id: str) -> None:
        self._answer()
        self.jobs[submission_id] = State.STOPPED

    def logs(self, submission_id: str) -> str:
        self._answer()
        return f"log of {submission_id}\n"

    def _answer(self) -> None:
        if self.down:
            raise NoAnswer(f"nothing answers at {self.name}")


class Clock:
    """A time that a test moves."""

    def __init__(self, start) -> None:
        self.time = start

    def __call__(self):
        return self.time
