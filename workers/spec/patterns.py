"""Regular expressions of users, matched in time linear in the text. Takes patterns as Python writes them, gives RE2's.

RE2 knows no look-around and no backreferences, which is what makes others take for ever; such a pattern is refused, and named.
What RE2 reads in another way than Python is rewritten, or refused: a pattern that compiles gives what `re` gives. Three cases
are left: `$` is the end of the text alone, not also before a line break at the end; (?i) follows RE2's tables of letters; and a
repeated group that may be empty, as in `(a*)*`, gives its last match that is not.
"""

import functools
import re
from collections.abc import Iterator

import re2

LONGEST = 1000  # characters of a pattern
MEMORY_BYTES = 64 << 20  # that RE2 may use for one
_ESCAPE = r"\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8}|\\."
_CLASS = r"\[\^?\]?"  # a bracket right behind the beginning of a class is itself
_OPENING = r"\(\?(?:P<\w+>|P=|P>|<=|<!|[a-zA-Z-]*[:)]|.)"
_OUTSIDE = re.compile(rf"{_ESCAPE}|{_CLASS}|{_OPENING}|\{{,\d+\}}|.", re.DOTALL)
_WITHIN = re.compile(rf"{_ESCAPE}|\[:|.", re.DOTALL)  # a class
_GROUP = re.compile(r"\(\?(?:P<\w+>|(?:[ims]+|[ims]*-[ims]+)?:)")
_LOOKS = {"(?=": "look-ahead", "(?!": "look-ahead", "(?<=": "look-behind", "(?<!": "look-behind"}
_REFUSED = _LOOKS | {
    "(?P=": "a backreference",
    "(?(": "a condition",
    "(?>": "an atomic group",
    "(?#": "a comment",
}


class Pattern:
    """A compiled pattern.

    Args:
        pattern: as Python writes it.

    Raises:
        ValueError: it is not a regular expression, or needs more than linear time; in one line.
    """

    def __init__(self, pattern: str) -> None:
        if len(pattern) > LONGEST:
            raise ValueError(f"it has {len(pattern):,} characters; {LONGEST:,} at most")
        options = re2.Options()
        options.max_mem, options.log_errors = MEMORY_BYTES, False
        try:
            self._compiled = re2.compile("".join(_translated(pattern)), options)
        except re2.error as error:
            told = error.args[0]
            raise ValueError(told.decode(errors="replace") if isinstance(told, bytes) else str(told)) from None

    def first(self, text: str) -> str | None:
        """The first group of the first match, or all of it where there are no groups; None where nothing matches."""
        found = self._compiled.search(text)
        return found.group(1 if self._compiled.groups else 0) if found else None


def _translated(pattern: str) -> Iterator[str]:
    """The pattern's parts as RE2 writes them."""
    flags, rest = _flags(pattern)
    ascii_only, within = "a" in flags, False
    if kept := flags.replace("a", ""):
        yield f"(?{kept})"
    place = 0
    while place < len(rest):
        word = (_WITHIN if within else _OUTSIDE).match(rest, place)[0]  # type: ignore[index]  # a point matches anything
        place += len(word)
        if word == "[:":
            raise ValueError("a class in a class ([:...) is not supported")
        if word.startswith("\\"):
            yield _escape(word, ascii_only=ascii_only, within=within)
        else:
            yield word if within else _outside(word)
        within = word != "]" if within else word.startswith("[")


def _flags(pattern: str) -> tuple[str, str]:
    """The flags in front of a pattern, and the rest. Those that RE2 does not know are refused."""
    found = re.match(r"\(\?([aimsu]+)\)", pattern)
    flags, rest = (found[1], pattern[found.end() :]) if found else ("", pattern)
    if "a" in flags and "u" in flags:
        raise ValueError("the flags a and u exclude each other")
    return flags.replace("u", ""), rest


def _outside(word: str) -> str:
    """A word outside of a class that is not an escape."""
    for start, name in _REFUSED.items():
        if word.startswith(start):
            raise ValueError(f"{name} ({start}...) is not supported: it may take for ever")
    if word.startswith("(?") and not _GROUP.match(word):
        raise ValueError(f"{word!r} is not supported, or is not allowed here")
    return "{0" + word[1:] if word.startswith("{,") else word


def _escape(word: str, *, ascii_only: bool, within: bool) -> str:
    """An escape as RE2 writes it."""
    letter = word[1:2]
    if letter in ("x", "u", "U") and len(word) > 2:
        return f"\\x{{{word[2:]}}}"
    if letter and letter in "dDsSwW":
        ranges = _ranges(letter, ascii_only=ascii_only)
        return ranges if within else f"[{ranges}]"
    if letter and letter in "afnrtv":
        return word
    if letter and not (letter.isalnum() and letter.isascii()):  # itself
        return rf"\x{{{ord(letter):x}}}"
    return r"\x08" if within and letter == "b" else _place(word, letter, ascii_only=ascii_only and not within)


def _place(word: str, letter: str, *, ascii_only: bool) -> str:
    """An escape that stands for a place in the text."""
    if letter in ("A", "Z"):
        return word.lower() if letter == "Z" else word
    if letter in ("b", "B"):
        if ascii_only:
            return word
        raise ValueError(rf"\{letter} is only supported for ASCII: begin the pattern with (?a)")
    if letter.isdigit() and letter != "0":
        raise ValueError(f"a backreference ({word}) is not supported: it may take for ever")
    raise ValueError(f"the escape {word!r} is not supported")


@functools.lru_cache
def _ranges(letter: str, *, ascii_only: bool) -> str:
    r"""What \d, \w, ... are in Python, as ranges: RE2's own are of ASCII."""
    every = "".join(map(chr, range(0x110000)))
    flags = re.ASCII if ascii_only else re.UNICODE
    found = re.finditer(rf"\{letter}+", every, flags)
    return "".join(rf"\x{{{each.start():x}}}-\x{{{each.end() - 1:x}}}" for each in found)
