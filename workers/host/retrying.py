"""The only retry policy for storage. Takes an operation on a store, gives its result, or an error after minutes of retries."""

import errno
import os
from collections.abc import Callable
from typing import NoReturn, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from workers.errors import DeconvoyError, StoreError, UsageError
from workers.host import log

PATIENCE = "DECONVOY_STORE_PATIENCE_S"
PATIENCE_S = 300.0  # stores recover from restarts, throttling and network failures within minutes
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 20.0

# Errors that a retry cannot fix: of the file, its name, its permissions, or the space on disk.
LASTING = frozenset(
    {errno.ENOENT, errno.EEXIST, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.ENOSPC}
    | {
        errno.EDQUOT,
        errno.EROFS,
        errno.ENAMETOOLONG,
        errno.ELOOP,
        errno.EINVAL,
        errno.EXDEV,
        errno.ENOTSUP,
        errno.EFBIG,
    }
)
CREDENTIALS = frozenset({"NoCredentialsError", "PartialCredentialsError"})  # botocore's, which may not be installed
BUGS = (TypeError, ValueError, LookupError, AttributeError, ImportError, ArithmeticError, AssertionError, MemoryError)

Result = TypeVar("Result")


def patience() -> float:
    """How long jobs retry a failing store, seconds.

    Raises:
        UsageError: the environment variable is not a number of seconds.
    """
    value = os.environ.get(PATIENCE) or str(PATIENCE_S)
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"{PATIENCE}={value!r} is not a number of seconds; the default is 300, and 0 disables retries")
    return seconds


def retried(act: Callable[[], Result], what: str, patience_s: float | None = None) -> Result:
    """Run an operation on a store, and retry failures that may pass, at growing intervals.

    Args:
        act: the operation; may run more than once.
        what: its description for the log and the error, such as `reading s3://bucket/a.jpg`.
        patience_s: seconds after which no further attempt begins; 0 tries once; by default `patience`.

    Raises:
        StoreError: the store still fails, or there are no credentials for it.
        OSError: a retry cannot help, for example because a file is missing.
    """
    limit_s = patience() if patience_s is None else patience_s
    if limit_s <= 0:
        return act()
    retrying = Retrying(
        retry=retry_if_exception(is_outage),
        wait=wait_random_exponential(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S),
        stop=stop_after_delay(limit_s),
        before_sleep=lambda state: _log_pause(state, what),
        retry_error_callback=lambda state: _give_up(state, what),
    )
    try:
        return retrying(act)
    except Exception as error:
        if type(error).__name__ in CREDENTIALS:
            raise StoreError(f"{what} failed: {reason(error)}") from error
        raise


def may_pass(error: BaseException) -> bool:
    """Whether a retry may help. Stores raise errors of many types, so every error that is not known to last counts."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno not in LASTING
    if isinstance(
        error, FileNotFoundError | FileExistsError | PermissionError | NotADirectoryError | IsADirectoryError
    ):
        return False
    return isinstance(error, Exception) and not isinstance(error, (DeconvoyError, *BUGS))


def is_outage(error: BaseException) -> bool:
    """Whether a failure may pass without the user's help, unlike missing credentials."""
    return may_pass(error) and type(error).__name__ not in CREDENTIALS


def reason(error: BaseException) -> str:
    """The message of an error, in one line."""
    system_message = error.strerror if isinstance(error, OSError) else None
    lines = (system_message or str(error)).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _log_pause(state: RetryCallState, what: str) -> None:
    pause_s = state.next_action.sleep if state.next_action else 0.0
    log.Log().say(f"{what} failed ({_reason(state)}); retrying in {pause_s:.1f} s", log.WARNING)


def _give_up(state: RetryCallState, what: str) -> NoReturn:
    spent_s = state.seconds_since_start or 0.0
    raise StoreError(
        f"{what} failed {state.attempt_number} times in {spent_s:.0f} s: {_reason(state)}; run the same command again"
    ) from (state.outcome.exception() if state.outcome else None)


def _reason(state: RetryCallState) -> str:
    error = state.outcome.exception() if state.outcome else None
    return reason(error) if error else "no answer"
