"""The one retry policy for storage. Takes something to do at a store, gives its result, or one error after minutes of trying."""

import errno
import os
from collections.abc import Callable
from typing import NoReturn, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from workers.errors import DeconvoyError, StoreError, UsageError
from workers.host import log

PATIENCE = "DECONVOY_STORE_PATIENCE_S"
PATIENCE_S = 300.0  # a store that restarts, throttles, or loses its network comes back within minutes
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 20.0

# What the next try would only meet again: the file, the name, the permission, the space.
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
BUGS = (TypeError, ValueError, LookupError, AttributeError, ImportError, ArithmeticError, AssertionError, MemoryError)

Result = TypeVar("Result")


def patience() -> float:
    """Seconds for which jobs try a store that fails.

    Raises:
        UsageError: the environment holds something that is not a number of seconds.
    """
    given = os.environ.get(PATIENCE) or str(PATIENCE_S)
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"{PATIENCE}={given!r} is not a number of seconds; 300 is the default, 0 never tries again")
    return seconds


def retried(act: Callable[[], Result], what: str, patience_s: float | None = None) -> Result:
    """Do something at a store; what may pass by itself is tried again, ever less often.

    Args:
        act: does it; may run more than once.
        what: what it does, for the log and the error: `reading s3://bucket/a.jpg`.
        patience_s: seconds after which no further try begins, 0 tries once; without it what `patience` says.

    Raises:
        StoreError: the store still fails.
        OSError: what would not pass by itself, such as a missing file.
    """
    limit_s = patience() if patience_s is None else patience_s
    if limit_s <= 0:
        return act()
    retrying = Retrying(
        retry=retry_if_exception(may_pass),
        wait=wait_random_exponential(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S),
        stop=stop_after_delay(limit_s),
        before_sleep=lambda state: _log_pause(state, what),
        retry_error_callback=lambda state: _give_up(state, what),
    )
    return retrying(act)


def may_pass(error: BaseException) -> bool:
    """Whether trying again may help: the store's own failures, of whatever type; stores raise what they like."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno not in LASTING
    if isinstance(
        error, FileNotFoundError | FileExistsError | PermissionError | NotADirectoryError | IsADirectoryError
    ):
        return False
    return isinstance(error, Exception) and not isinstance(error, (DeconvoyError, *BUGS))


def reason(error: BaseException) -> str:
    """What an error says, in one line, without its traceback."""
    spoken = error.strerror if isinstance(error, OSError) else None
    lines = (spoken or str(error)).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _log_pause(state: RetryCallState, what: str) -> None:
    pause_s = state.next_action.sleep if state.next_action else 0.0
    log.Log().say(f"{what} failed ({_reason(state)}); trying again in {pause_s:.1f} s", log.WARNING)


def _give_up(state: RetryCallState, what: str) -> NoReturn:
    spent_s = state.seconds_since_start or 0.0
    raise StoreError(
        f"{what} failed {state.attempt_number} times in {spent_s:.0f} s: {_reason(state)}; the same command resumes the run"
    ) from (state.outcome.exception() if state.outcome else None)


def _reason(state: RetryCallState) -> str:
    error = state.outcome.exception() if state.outcome else None
    return reason(error) if error else "no answer"
