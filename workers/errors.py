"""The tree of errors that Deconvoy raises. Takes the facts of a failure, gives its message and exit code."""

from collections.abc import Iterable
from difflib import get_close_matches
from enum import StrEnum
from typing import Any


class DeconvoyError(Exception):
    """The root of the tree. A message names what is at fault, its value, and what would have been right."""

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the error's fields; the constructor, which may take other arguments, is not called again."""
        return _restore, (type(self), self.args, vars(self))


class UsageError(DeconvoyError):
    """The request is not valid; nothing was written."""

    exit_code = 2


class SpecError(UsageError):
    """A spec with one or more mistakes; the message lists all of them."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class ModelError(UsageError):
    """A model is unknown, cannot be built, or does not fit its weights."""


class MisfitError(ModelError):
    """Weights or names of classes belong to a network of another shape."""


class DivergedError(ModelError):
    """Weights contain NaN or infinity, or their network's outputs do for every image."""


class GraphError(ModelError):
    """A model's graph cannot be exported, or has an operation with no downward step."""


class NoStepError(GraphError):
    """An operation has no downward step for these arguments; it then only runs upward."""


class UnknownLayerError(ModelError):
    """A layer pattern that matches nothing."""

    def __init__(self, pattern: str, layers: Iterable[str]) -> None:
        names = tuple(layers)
        super().__init__(f"no layer {pattern!r} in the model; {nearest(pattern, names)}")


class CorpusError(UsageError):
    """A corpus cannot be listed, or contains no image."""


class UnknownImageError(CorpusError):
    """An image id that is not in the corpus."""

    def __init__(self, image_id: str, corpus: str, known: Iterable[str]) -> None:
        super().__init__(f"no image {image_id!r} in corpus {corpus!r}; {nearest(image_id, known)}")


class UnknownClassError(ModelError):
    """A class that the model does not have."""

    def __init__(self, wanted: str, outputs: int, names: Iterable[str]) -> None:
        known = list(names)
        hint = nearest(wanted, known) if known else "it has no class names; give a number"
        super().__init__(f"no class {wanted!r} among the model's {outputs} outputs; {hint}")


class RootError(UsageError):
    """A root cannot be read or written."""


class RunError(UsageError):
    """A run id is malformed, unknown, not published, or used by another spec."""


class RunIdError(RunError):
    """A run id is malformed."""


class ClusterError(UsageError):
    """A Ray cluster does not answer, or does not accept a job."""


class NoAnswer(ClusterError):
    """A cluster did not answer. The request is valid, but whether it was carried out is unknown."""

    exit_code = 1


class NoJob(ClusterError):
    """A cluster does not know the job."""


class NotReady(ClusterError):
    """A cluster has just started; the request can be retried."""

    exit_code = 1


class NotTaken(ClusterError):
    """A cluster did not accept a job; the request can be retried."""

    exit_code = 1


class CatalogError(DeconvoyError):
    """An Iceberg catalog does not answer, or refuses a request."""


class RefusedError(UsageError):
    """A path or URL that the operator does not allow."""


class RedirectError(UsageError):
    """A URL's server redirects to another URL, which nobody has allowed."""


class Unavailable(DeconvoyError):
    """A store did not answer in time, or a service is overloaded; the request can be retried later."""


class QueryError(UsageError):
    """A query names something that the run does not have."""


class ExtraError(UsageError):
    """A feature needs optional packages that are not installed."""


class RunStopped(DeconvoyError):
    """The run stopped. Finished shards are kept, and the same command resumes the run."""


class ReadError(RunStopped):
    """A file cannot be read."""


class StaleFile(ReadError):
    """A listed file has vanished or changed; `reason` says which."""

    def __init__(self, reason: "Reason", message: str) -> None:
        self.reason = reason
        super().__init__(message)


class StoreError(RunStopped):
    """A store kept failing until the retries ran out."""


class NumericsError(RunStopped):
    """A network's outputs contain NaN or infinity, or the two passes disagree about a unit."""


class OutOfMemory(RunStopped):
    """An actor ran out of memory."""


class MemoryTaken(OutOfMemory):
    """An actor ran out of memory because other processes use it; smaller batches will not help."""


class NodeError(RunStopped):
    """A node's software or storage differs from the other nodes'."""


class LostActors(RunStopped):
    """Actors keep dying: before they are ready, or at the same item without a single image as the cause."""


class NoPlace(RunStopped):
    """A cluster had no room for a run within the time that the run may wait."""


class DamagedFile(RunStopped):
    """A stored file does not have the content that was written."""


class DamagedRun(DeconvoyError):
    """Files of a published run are missing, or are not those that its manifest names."""


class Reason(StrEnum):
    """Why an image cannot be used. Depends only on its bytes, its name, the limits, and installed decoders (`missing_extra`)."""

    BAD_NAME = "bad_name"
    EMPTY = "empty"
    TOO_MANY_BYTES = "too_many_bytes"
    TOO_MANY_PIXELS = "too_many_pixels"
    NOT_AN_IMAGE = "not_an_image"
    DAMAGED = "damaged"
    UNSUPPORTED_MODE = "unsupported_mode"
    MISSING_EXTRA = "missing_extra"
    DECODER_CRASH = "decoder_crash"
    DECODER_HANG = "decoder_hang"
    VANISHED = "vanished"
    CHANGED = "changed"


class Rejected(DeconvoyError):
    """An image cannot be used. The reader turns it into a row of `rejects`; it never leaves a worker."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class OtherLabels(DeconvoyError):
    """A run was given other labels while new ones were prepared; they are prepared again."""


class OutdatedShard(DeconvoyError):
    """A shard's images or verdicts are no longer those that it was planned with; the driver computes its name again."""


class OtherVerdicts(OutdatedShard):
    """Another run has added or removed a verdict since the shard was named, so its result would not match its name."""


class StaleImage(OutdatedShard):
    """A listed file has vanished or changed. The driver records a verdict, and the shard runs without the image."""

    def __init__(self, image_index: int, reason: Reason, detail: str) -> None:
        self.image_index = image_index
        self.reason = reason
        self.detail = detail
        super().__init__(f"image {image_index}: {detail}")


class Replan(DeconvoyError):
    """Verdicts were recorded that the plan does not contain. The driver catches this and plans again."""


class PlanReached(DeconvoyError):
    """A dry run has its plan, so nothing runs. `jobs.planning` catches it."""

    def __init__(self, plan: object) -> None:
        super().__init__("the plan is known")
        self.plan = plan


class SuspectImages(DeconvoyError):
    """An image may have crashed or hung its decoder. Images are then decoded in fresh processes, to find it."""

    image_index: int | None = None  # the image, if it is known


class ReaderLost(SuspectImages):
    """A process that decodes images hung. Its actor is unharmed."""

    def __init__(self, message: str, image_index: int | None = None) -> None:
        self.image_index = image_index
        super().__init__(message)


class ReaderCrash(ReaderLost):
    """A process that decodes images died, by itself or because memory ran out."""


class DecoderHang(SuspectImages):
    """A decoder did not return in time, and still occupies a thread."""

    def __init__(self, image_index: int) -> None:
        self.image_index = image_index
        super().__init__(f"image {image_index}: the decoder did not return in time")


def nearest(wanted: str, names: Iterable[str], limit: int = 8) -> str:
    """The names nearest to the wanted one, or else the first ones, as the second half of a message."""
    known = list(names)
    close = get_close_matches(wanted, known, n=3, cutoff=0.5)
    if close:
        return "nearest: " + ", ".join(close)
    if not known:
        return "none available"
    shown = ", ".join(known[:limit])
    return f"available: {shown}" + (", ..." if len(known) > limit else "")


def _restore(kind: type[DeconvoyError], args: tuple[Any, ...], fields: dict[str, Any]) -> DeconvoyError:
    error = kind.__new__(kind, *args)
    error.args = args
    vars(error).update(fields)
    return error
