"""Errors of Ray's job client. Takes an exception, gives one of our errors on one line; its class says whether a retry helps."""

import re

from workers.errors import ClusterError, NoAnswer, NoJob, NotReady


def translate(name: str, error: Exception) -> ClusterError:
    """Our error for an error of Ray's client."""
    message = str(error)
    if isinstance(error, PermissionError) or re.search(r"status code 40[13]\b", message):
        detail = f" ({message.splitlines()[0]})" if "RAY_AUTH_TOKEN_PATH" in message.partition("\n")[0] else ""
        return ClusterError(
            f"the Ray cluster at {name} requires a token, or a different one: set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH{detail}"
        )
    if "does not exist" in message and "404" in message:
        return NoJob(message)
    if "No available agent" in message:
        return NotReady(f"the Ray cluster at {name} has no job agent; it may still be starting: try again in a minute")
    # For an answer that is not JSON, `requests` raises an error that is both ValueError and OSError. Unexpected JSON is a
    # KeyError or TypeError.
    if isinstance(error, ValueError | KeyError | TypeError) or "Version check" in message:
        return ClusterError(f"the server at {name} is not a Ray dashboard; the default port is 8265")
    if isinstance(error, OSError):
        return NoAnswer(silence_message(name))
    return ClusterError(f"the Ray cluster at {name} refused the request: {last_line(message) or type(error).__name__}")


def silence_message(name: str) -> str:
    """The message for a cluster that does not answer."""
    return f"nothing answers at {name} (is Ray running and reachable?)"


def last_line(traceback: str) -> str:
    """The last line of a traceback, which names the error."""
    lines = [line.strip() for line in traceback.strip().splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
