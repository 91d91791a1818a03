"""Numbers for people: few digits, no exponent where one would only hinder, and the same text everywhere."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.query.figures import readable

SERVICE = Path(__file__).parents[4] / "service"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (-0.0, "0"), (946.0, "946"), (1072.3, "1,072"), (-1072.3, "-1,072"), (999.4, "999"), (999.6, "1,000"),
        (12.345, "12.3"), (0.5, "0.5"), (0.000123, "0.000123"), (123456.7, "123,457"), (1e-9, "1.00e-09"),
        (2.5e12, "2.50e+12"), (math.inf, "inf"), (math.nan, "nan"),
    ],
)  # fmt: skip
def test_a_value_has_three_digits_and_thousands_are_whole(value, text):
    assert readable(value) == text


def test_a_table_of_a_command_has_one_digit_more():
    assert [readable(value, 4) for value in (12.3456, 999.96, 1072.3)] == ["12.35", "1,000", "1,072"]


@given(st.floats(min_value=1e-4, max_value=1e8), st.sampled_from([-1, 1]))
def test_the_text_is_the_value_to_three_digits_and_has_no_exponent(size, sign):
    text = readable(sign * size)
    assert "e" not in text
    assert math.isclose(float(text.replace(",", "")), sign * size, rel_tol=0.5e-2)


def test_no_page_sheet_or_command_formats_a_measured_value_in_its_own_way():
    own = re.compile(r"[.%][34]g\b")
    files = [file for kind in ("*.py", "*.html") for file in SERVICE.rglob(kind)]
    assert [file.name for file in files if own.search(file.read_text(encoding="utf-8"))] == []
