"""What Ray's answers mean. Takes what its client raises, gives our errors: in one line, and whether asking again will help."""

import re

from workers.errors import ClusterError, NoAnswer, NoJob, NotReady


def understood(name: str, error: Exception) -> ClusterError:
    """What an error of Ray's client means."""
    message = str(error)
    if isinstance(error, PermissionError) or re.search(r"status code 40[13]\b", message):
        why = f" ({message.splitlines()[0]})" if "RAY_AUTH_TOKEN_PATH" in message.partition("\n")[0] else ""
        return ClusterError(
            f"the Ray cluster at {name} requires a token, or another one: set RAY_AUTH_TOKEN(_PATH){why}"
        )
    if "does not exist" in message and "404" in message:
        return NoJob(message)
    if "No available agent" in message:
        return NotReady(f"the Ray cluster at {name} has no agent for jobs")
    # An answer that is not JSON is a ValueError and, being one of `requests`, an OSError; other JSON is a KeyError or TypeError.
    if isinstance(error, ValueError | KeyError | TypeError) or "Version check" in message:
        return ClusterError(f"what answers at {name} is not a Ray dashboard; the default port is 8265")
    if isinstance(error, OSError):
        return NoAnswer(silence(name))
    return ClusterError(f"the Ray cluster at {name} does not take this: {last_line(message) or type(error).__name__}")


def silence(name: str) -> str:
    """The message for a cluster that does not answer."""
    return f"nothing answers at {name} (is its Ray running, and within reach?)"


def last_line(traceback: str) -> str:
    """The line of a traceback that names the error."""
    lines = [line.strip() for line in traceback.strip().splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
