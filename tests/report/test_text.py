"""Text that others wrote stays text: in spreadsheets, and in rendered Markdown."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelbench.report.text import as_written, change_between, csv_text, inert, markdown


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1+cmd|' /C calc'!A0", "@SUM(1)", "\t=1", "\r=1", "＝1", "'=1"])
def test_a_cell_that_begins_as_a_formula_gets_a_quote_in_front(cell: str) -> None:
    (row,) = csv.DictReader(io.StringIO(csv_text([{"a": cell, "b": "x"}], ["a", "b"]), newline=""))
    assert row == {"a": f"'{cell}", "b": "x"} and as_written(row["a"]) == cell


@pytest.mark.parametrize("cell", ["", "plain", "a=b", "it's", "'quoted'", " =x"])
def test_other_text_is_written_as_it_is(cell: str) -> None:
    assert inert(cell) == as_written(cell) == cell


@given(st.text(alphabet="'=+-@\t\r\na"))
def test_what_is_written_comes_back(cell: str) -> None:
    assert as_written(inert(cell)) == cell


def test_a_negative_number_stays_a_number() -> None:
    assert csv_text([{"a": -0.5, "b": -3}], ["a", "b"]) == "a,b\n-0.5,-3\n"


def test_html_and_links_in_a_table_are_text() -> None:
    table = markdown(["a"], [["<img src=x onerror=alert(1)>"], ["![](http://x)"], ["&lt;b&gt;"], ["<!-- x -->"]])
    assert "&lt;img" in table and "](" not in table and "&amp;lt;b&amp;gt;" in table and "<!--" not in table


def test_figures_in_a_table_are_shown_as_they_are() -> None:
    assert "p < 0.001 & n > 3, R&D" in markdown(["a"], [["p < 0.001 & n > 3, R&D"]])


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.49, 0.84, "−51 % to −16 %"),
        (0.9, 2.5, "−10 % to +150 %"),
        (0.4, 2.5, "−60 % to +150 %"),
        (2.1, 3.4, "2.1× to 3.4×"),
        (0.25, 0.4, "4.0× less to 2.5× less"),
    ],
)
def test_both_ends_of_a_ratio_are_said_in_the_same_way(low: float, high: float, said: str) -> None:
    assert change_between(low, high) == said
