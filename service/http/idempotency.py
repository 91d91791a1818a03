"""Requests that clients repeat. Takes idempotency keys and submissions, gives the spec of the first submission with each key."""

import hashlib
import json

from pydantic.dataclasses import dataclass

from service.control.submissions import Submissions
from service.http.bodies import Submission
from workers.errors import DamagedFile, RunError
from workers.spec.parts import AnyRun
from workers.spec.plain import PlainSpec
from workers.store import paths
from workers.store.json_format import JsonFormat
from workers.store.root import Root


@dataclass(frozen=True)
class FirstSubmission:
    """The first submission with a key: the SHA-256 of its body, and its spec with the run id."""

    body: str
    spec: PlainSpec


_FORMAT = JsonFormat(FirstSubmission, indent=None, sort_keys=False)


def first_spec(submissions: Submissions, key: str, submission: Submission, spec: AnyRun) -> tuple[AnyRun, bool]:
    """The spec, with its run id, of the first submission with a key, and whether this one is the first.

    Raises:
        RunError: the first submission had another body.
        DamagedFile: the file of the key cannot be parsed.
    """
    body = hashlib.sha256(json.dumps(submission.model_dump(), sort_keys=True).encode()).hexdigest()
    path = paths.idempotency_path(hashlib.sha256(key.encode()).hexdigest())
    if submissions.root.create(path, _FORMAT.encode(FirstSubmission(body, PlainSpec.of(spec)))):
        return spec, True
    first = _read(submissions.root, path)
    if first.body != body:
        raise RunError("this Idempotency-Key was already used for a different submission; use a new one")
    return submissions.parse_spec(submission.job, first.spec.values), False


def _read(root: Root, path: str) -> FirstSubmission:
    try:
        return _FORMAT.decode(root.read(path))
    except ValueError as error:
        raise DamagedFile(f"{path} cannot be parsed: {error}; remove it") from error
