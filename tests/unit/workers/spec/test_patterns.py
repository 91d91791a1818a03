"""Patterns of users: what `re` gives, in linear time; what would take longer is refused by its name."""

import re
import time
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from workers.spec.parts import CorpusSpec
from workers.spec.patterns import LONGEST, Pattern

HOSTILE = "a" * 50 + "b"
TEXTS = [
    "a/b_12.jpg",
    "é٣x ½",
    "cat0/001.png",
    "",
    "IMG-007 final.JPG",
    "x\x1cy",
    "[a]",
    "aaab",
    "line\nbreak",
    "\u017f\u212a_",
]
SIMPLE = [
    r"(\d+)", r"\w+", r"(\s)", r"^([^/]+)/", r"(?P<x>\d+)\.jpg$", r"[\w-]+", r"[^\W\d]+", r"\S+$", r"(?i)img", r"a{,2}b",
    r"[]a]+", r"[^]a]+", r"\u00e9|\xbd", r"(?:a|b)+", r"(?i:JPG)", r"[(?]]*", r"b\Z", r"a|(b)", r"(?a)\w+\b", r"[\b]",
    r"\D\d\W", r"\-x|\_", r"(?s).+", r"(?m)^b", r"x{", r"[a\]]", r"(?a)\d|\s", r"\A.", r"[\s\d]", "\\/(.*)",
]  # fmt: skip


def by_re(pattern: str, text: str) -> str | None:
    """What Python's own engine gives, which may take for ever."""
    compiled = re.compile(pattern)
    found = compiled.search(text)
    return found.group(1 if compiled.groups else 0) if found else None


@pytest.mark.parametrize("pattern", SIMPLE)
def test_an_ordinary_pattern_gives_what_python_gives(pattern):
    compiled = Pattern(pattern)
    assert [compiled.first(text) for text in TEXTS] == [by_re(pattern, text) for text in TEXTS]


@pytest.mark.parametrize("letter", "dDsSwW")
@pytest.mark.parametrize("form", [r"\{}", r"[\{}]", r"[^\{}]", r"(?a)\{}"])
def test_a_class_holds_the_characters_that_it_holds_in_python(letter, form):
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x20000)]))
    pattern = form.format(letter)
    runs = re.compile(f"{pattern}+")
    compiled = Pattern(f"{pattern}+")
    place = 0
    while (mine := compiled.first(every[place:])) is not None:
        theirs = runs.search(every, place)
        assert theirs is not None and theirs[0] == mine
        place = theirs.end()
    assert runs.search(every, place) is None


ATOMS = st.sampled_from(["a", "b", r"\d", r"\w", r"\s", ".", "[a-c]", r"[^\d/]", r"\.", "/", "é", "_"])
LETTERS = st.text("ab1 ./é_c", max_size=12)


@st.composite
def patterns(draw) -> str:
    """Sequences and alternatives of repeated atoms, some of them in groups."""
    parts = []
    for atom in draw(st.lists(ATOMS, min_size=1, max_size=5)):
        repeated = atom + draw(st.sampled_from(["", "*", "+", "?", "{1,2}", "{,2}", "*?", "+?"]))
        parts.append(draw(st.sampled_from(["{}", "({})", "(?:{})", "{}|"])).format(repeated))
    return draw(st.sampled_from(["", "^"])) + "".join(parts) + draw(st.sampled_from(["", "$"]))


@given(patterns(), LETTERS)
def test_a_pattern_gives_what_python_gives(pattern, text):
    assert Pattern(pattern).first(text) == by_re(pattern, text)


@given(st.text("ab1.*+?()[]{}|^$\\d\\w:P<>!=-,i", max_size=15), LETTERS)
def test_whatever_is_written_is_refused_in_one_line_or_matched(pattern, text):
    try:
        found = Pattern(pattern).first(text)
    except ValueError as error:
        assert str(error) and "\n" not in str(error)
        return
    assert found is None or found in text


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        (r"(a)\1", "backreference"), (r"(?P<x>a)(?P=x)", "backreference"), (r"a(?=b)", "look-ahead"), ("(?!a)b", "look-ahead"),
        ("(?<=a)b", "look-behind"), ("(?<!a)b", "look-behind"), ("(?>a)", "atomic"), ("(a)?(?(1)b|c)", "condition"),
        ("a++", "repetition"), (r"\bx", r"(?a)"), ("(", "missing )"), ("[[:alpha:]]", "POSIX class"), (r"\pL", "escape"),
        ("x{5000}", "repetition size"), ("(" * 3000, f"{LONGEST:,} at most"), ("(" * 400 + ")" * 400 + "{9}", None),
        ("[\0-\U0010ffff]" * 190, None), ("((((a{99}){9}){9}){9}){9}", None), ("\\", "escape"),
    ],
)  # fmt: skip
def test_what_may_take_for_ever_is_refused_by_its_name_and_at_once(pattern, named):
    started = time.perf_counter()
    try:
        CorpusSpec(source="/photos", group=pattern)
    except ValidationError as error:
        [told] = error.errors()
        assert "group" in told["msg"] and "as a regular expression" in told["msg"]
        assert named is None or named in told["msg"]
    else:
        assert named is None
    assert time.perf_counter() - started < 2


def test_a_pattern_whose_search_would_never_end_ends():
    started = time.perf_counter()
    assert Pattern("(a+)+$").first(HOSTILE) is None
    assert Pattern("(x+x+)+y").first("x" * 100_000) is None
    assert time.perf_counter() - started < 2


def test_no_pattern_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Pattern("[[a]+&&b]")
