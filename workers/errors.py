"""Every error that Deconvoy raises on purpose, as one tree. Takes what went wrong, gives a message for a person."""

from collections.abc import Iterable
from difflib import get_close_matches
from enum import StrEnum
from typing import Any


class DeconvoyError(Exception):
    """Anything raised on purpose. The message names the thing, the value, and what would have been right."""

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes as they are, whatever the constructor takes."""
        return _revived, (type(self), self.args, vars(self))


class UsageError(DeconvoyError):
    """The caller asked for something that cannot be: nothing was written."""

    exit_code = 2


class SpecError(UsageError):
    """A spec with one or more mistakes; all of them are told at once."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class ModelError(UsageError):
    """A model that is unknown, cannot be built, or whose weights do not fit."""


class DivergedError(ModelError):
    """Weights that hold NaN or infinity, or whose network gives them for any image."""


class GraphError(ModelError):
    """A model whose graph cannot be traced, or holds an operation with no known downward step."""


class UnknownLayerError(ModelError):
    """A layer pattern that matches nothing."""

    def __init__(self, pattern: str, layers: Iterable[str]) -> None:
        names = tuple(layers)
        super().__init__(f"no layer {pattern!r} in the model; {nearest(pattern, names)}")


class CorpusError(UsageError):
    """A corpus that cannot be listed or holds no image."""


class UnknownImageError(CorpusError):
    """An image id that the corpus does not hold."""

    def __init__(self, image_id: str, corpus: str, known: Iterable[str]) -> None:
        super().__init__(f"no image {image_id!r} in corpus {corpus!r}; {nearest(image_id, known)}")


class UnknownClassError(ModelError):
    """A class that the model does not have."""

    def __init__(self, wanted: str, outputs: int, names: Iterable[str]) -> None:
        known = list(names)
        told = nearest(wanted, known) if known else "no names are known, give a number"
        super().__init__(f"no class {wanted!r} among the model's {outputs} outputs; {told}")


class RootError(UsageError):
    """A root that cannot be read or written."""


class RunError(UsageError):
    """A run id that is malformed, unknown, not published, or taken by another spec."""


class RunIdError(RunError):
    """A run id that is none."""


class ClusterError(UsageError):
    """A Ray cluster that does not answer, or does not take a job."""


class NoAnswer(ClusterError):
    """Nothing answers: whether what was asked for was done nobody can say. Nothing is wrong with the question."""

    exit_code = 1


class NoJob(ClusterError):
    """A cluster that knows no such job."""


class NotReady(ClusterError):
    """A cluster that has only just started, and asks to be asked again."""

    exit_code = 1


class NotTaken(ClusterError):
    """A cluster did not take a job this time; the same may be asked of it again."""

    exit_code = 1


class RefusedError(UsageError):
    """A place that the operator does not let anyone read or write."""


class RedirectError(UsageError):
    """A URL whose server names another one: what is there nobody has asked for."""


class Unavailable(DeconvoyError):
    """A store that did not answer in time, or a service with too much to do. The same may be asked again later."""


class QueryError(UsageError):
    """A question about something that the run does not hold."""


class ExtraError(UsageError):
    """A feature whose optional packages are not installed."""


class RunStopped(DeconvoyError):
    """The run cannot go on; what is finished stays and the same command goes on from there."""


class ReadError(RunStopped):
    """A file that cannot be read."""


class StaleFile(ReadError):
    """A file that is gone, or is not the one that was listed; `reason` says which."""

    def __init__(self, reason: "Reason", message: str) -> None:
        self.reason = reason
        super().__init__(message)


class StoreError(RunStopped):
    """A store that kept failing, however often it was asked again."""


class NumericsError(RunStopped):
    """A network that gives NaN or infinity, or two passes that disagree about the same unit."""


class OutOfMemory(RunStopped):
    """An actor ran out of memory."""


class MemoryTaken(OutOfMemory):
    """An actor ran out of memory because other processes hold it: smaller batches will not help."""


class NodeError(RunStopped):
    """A node whose software or storage differs from the others'."""


class LostActors(RunStopped):
    """Actors keep dying at the same work and no single image is to blame."""


class NoPlace(RunStopped):
    """A cluster that had no room for a run within the time that it may wait."""


class DamagedFile(RunStopped):
    """A stored file that is not what was written."""


class DamagedRun(DeconvoyError):
    """A published run whose files are missing or not the ones that its manifest names."""


class Reason(StrEnum):
    """Why an image cannot be used: a function of its bytes and the limits, never of luck."""

    BAD_NAME = "bad_name"
    EMPTY = "empty"
    TOO_MANY_BYTES = "too_many_bytes"
    TOO_MANY_PIXELS = "too_many_pixels"
    NOT_AN_IMAGE = "not_an_image"
    DAMAGED = "damaged"
    UNSUPPORTED_MODE = "unsupported_mode"
    DECODER_CRASH = "decoder_crash"
    DECODER_HANG = "decoder_hang"
    VANISHED = "vanished"
    CHANGED = "changed"


class Rejected(DeconvoyError):
    """One image that cannot be used. The reader turns it into a row of `rejects`; it never leaves a worker."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class OutdatedShard(DeconvoyError):
    """A shard whose images or verdicts are not those that it was planned with: the driver names it again."""


class OtherVerdicts(OutdatedShard):
    """Another run has recorded or forgotten a verdict since the shard was named: its result would not be what its name says."""


class StaleImage(OutdatedShard):
    """A listed file that is gone or is another one now. The driver records that as a verdict, and its shard runs without it."""

    def __init__(self, image_index: int, reason: Reason, detail: str) -> None:
        self.image_index = image_index
        self.reason = reason
        self.detail = detail
        super().__init__(f"image {image_index}: {detail}")


class Replan(DeconvoyError):
    """Verdicts on images were recorded that the plan does not know: the driver plans again, and nobody else sees this."""


class DecoderHang(DeconvoyError):
    """A decoder that did not come back in time; the suspect is confirmed alone in a fresh process."""

    def __init__(self, image_index: int) -> None:
        self.image_index = image_index
        super().__init__(f"image {image_index}: the decoder did not come back")


def nearest(wanted: str, names: Iterable[str], limit: int = 8) -> str:
    """Say which names come nearest to the wanted one, for the second half of a message."""
    known = list(names)
    close = get_close_matches(wanted, known, n=3, cutoff=0.5)
    if close:
        return "nearest: " + ", ".join(close)
    if not known:
        return "there is none"
    shown = ", ".join(known[:limit])
    return f"there are {shown}" + (", ..." if len(known) > limit else "")


def _revived(kind: type[DeconvoyError], args: tuple[Any, ...], fields: dict[str, Any]) -> DeconvoyError:
    error = kind.__new__(kind, *args)
    error.args = args
    vars(error).update(fields)
    return error
