import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelbench.foreign import one_line, printable


@given(st.text())
def test_nothing_that_comes_out_acts_on_a_terminal(text: str) -> None:
    acting = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    assert not any(unicodedata.category(letter) in acting for letter in printable(text) if letter not in "\n\t")


@given(st.text())
def test_showing_twice_changes_nothing_more(text: str) -> None:
    assert printable(printable(text)) == printable(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\x07b\x9bc", "a\\x07b\\x9bc"),
        ("abc\u202etxt.exe", "abc\\u202etxt.exe"),
        ("\ufefftext", "\\ufefftext"),
        ("modèle 模型 ✓", "modèle 模型 ✓"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("over\rwritten", "over\\rwritten"),
    ],
)
def test_control_and_direction_characters_are_shown_as_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_one_line_has_single_blanks_and_a_bound() -> None:
    assert one_line("a\r\n  b\x1b", 80) == "a b\\x1b"
    assert one_line("x" * 100, 10) == "x" * 9 + "…"
