"""Text in SQL. Takes texts and paths, gives literals."""

import re


def quoted(text: str) -> str:
    """A text as a literal, with quotes doubled."""
    return "'" + text.replace("'", "''") + "'"


def without_patterns(path: str) -> str:
    """A path that DuckDB takes as it is: the characters of its patterns are in brackets."""
    return re.sub(r"[*?\[]", lambda match: f"[{match[0]}]", path)
