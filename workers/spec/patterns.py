"""Regular expressions of users, matched in linear time by RE2. Takes a pattern in Python's syntax, gives a matcher.

RE2 has no look-around and no backreferences, which can make other engines run forever. Patterns with them are refused by name.
Syntax that RE2 reads differently from Python is rewritten or refused, so a pattern that compiles gives the results of `re`, with
three exceptions: `$` matches only at the end of the text, not before a final line break; (?i) uses RE2's tables of letters; and
a repeated group that may be empty, as in `(a*)*`, gives its last non-empty match.
"""

import functools
import re
from collections.abc import Iterator

import re2

LONGEST = 1000  # characters of a pattern
MEMORY_BYTES = 64 << 20  # RE2's limit for one pattern
_ESCAPE = r"\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8}|\\."
_CLASS = r"\[\^?\]?"  # a bracket right after the start of a class is literal
_OPENING = r"\(\?(?:P<\w+>|P=|P>|<=|<!|[a-zA-Z-]*[:)]|.)"
_OUTSIDE = re.compile(rf"{_ESCAPE}|{_CLASS}|{_OPENING}|\{{,\d+\}}|.", re.DOTALL)
_INSIDE = re.compile(rf"{_ESCAPE}|\[:|.", re.DOTALL)  # inside a class
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
        pattern: in Python's syntax.

    Raises:
        ValueError: it is not a regular expression, or is not supported; the message is one line.
    """

    def __init__(self, pattern: str) -> None:
        if len(pattern) > LONGEST:
            raise ValueError(f"it has {len(pattern):,} characters; {LONGEST:,} at most")
        options = re2.Options()
        options.max_mem, options.log_errors = MEMORY_BYTES, False
        try:
            self._compiled = re2.compile("".join(_translate(pattern)), options)
        except re2.error as error:
            raise ValueError(_explain(pattern, error)) from None

    def first(self, text: str) -> str | None:
        """The first group of the first match, or the whole match if there are no groups; None if nothing matches."""
        match = self._compiled.search(text)
        return match.group(1 if self._compiled.groups else 0) if match else None


def _explain(pattern: str, error: re2.error) -> str:
    """Why RE2 refuses a pattern: in Python's words, which quote the user's pattern, if it is wrong for Python, too."""
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as known:
        return str(known)
    text = error.args[0]
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def _translate(pattern: str) -> Iterator[str]:
    """The pattern's words in RE2's syntax."""
    flags, rest = _split_flags(pattern)
    ascii_only, inside = "a" in flags, False
    if other_flags := flags.replace("a", ""):
        yield f"(?{other_flags})"
    place = 0
    while place < len(rest):
        word = (_INSIDE if inside else _OUTSIDE).match(rest, place)[0]  # type: ignore[index]  # the dot matches anything
        place += len(word)
        if word == "[:":
            raise ValueError("a POSIX class ([:...:]) is not supported")
        if word.startswith("\\"):
            yield _translate_escape(word, ascii_only=ascii_only, inside=inside)
        else:
            yield word if inside else _translate_outside(word)
        inside = word != "]" if inside else word.startswith("[")


def _split_flags(pattern: str) -> tuple[str, str]:
    """The flags at the start of a pattern, without u, which is Python's default, and the rest of the pattern."""
    match = re.match(r"\(\?([aimsu]+)\)", pattern)
    flags, rest = (match[1], pattern[match.end() :]) if match else ("", pattern)
    if "a" in flags and "u" in flags:
        raise ValueError("the flags a and u cannot be combined")
    return flags.replace("u", ""), rest


def _translate_outside(word: str) -> str:
    """A word outside a class that is not an escape, in RE2's syntax."""
    for start, name in _REFUSED.items():
        if word.startswith(start):
            raise ValueError(f"{name} {start}...) is not supported")
    if word.startswith("(?") and not _GROUP.match(word):
        raise ValueError(f"{word!r} is not supported, or is not allowed here")
    return "{0" + word[1:] if word.startswith("{,") else word


def _translate_escape(word: str, *, ascii_only: bool, inside: bool) -> str:
    """An escape in RE2's syntax."""
    letter = word[1:2]
    if letter in ("x", "u", "U") and len(word) > 2:
        return f"\\x{{{word[2:]}}}"
    if letter and letter in "dDsSwW":
        ranges = _ranges(letter, ascii_only=ascii_only)
        return ranges if inside else f"[{ranges}]"
    if letter and letter in "afnrtv":
        return word
    if letter and not (letter.isalnum() and letter.isascii()):  # a literal character
        return rf"\x{{{ord(letter):x}}}"
    if inside and letter == "b":
        return r"\x08"
    return _translate_anchor(word, letter, ascii_only=ascii_only and not inside)


def _translate_anchor(word: str, letter: str, *, ascii_only: bool) -> str:
    """An escape that matches a position in the text, in RE2's syntax."""
    if letter in ("A", "Z"):
        return word.lower() if letter == "Z" else word
    if letter in ("b", "B"):
        if ascii_only:
            return word
        raise ValueError(rf"\{letter} is only supported for ASCII: begin the pattern with (?a)")
    if letter.isdigit() and letter != "0":
        raise ValueError(f"a backreference ({word}) is not supported: it may take forever")
    raise ValueError(f"the escape {word!r} is not supported")


@functools.lru_cache
def _ranges(letter: str, *, ascii_only: bool) -> str:
    r"""Python's \d, \w, ... as ranges of characters; RE2's own classes are ASCII only."""
    characters = "".join(map(chr, range(0x110000)))
    flags = re.ASCII if ascii_only else re.UNICODE
    matches = re.finditer(rf"\{letter}+", characters, flags)
    return "".join(rf"\x{{{match.start():x}}}-\x{{{match.end() - 1:x}}}" for match in matches)
