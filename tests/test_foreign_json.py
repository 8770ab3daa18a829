import math
import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelbench import foreign
from accelbench.foreign import LARGEST_COUNT, MOST_LEVELS, as_count, as_number, message, parse_python

TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(TREES)
def test_a_tree_comes_back_as_it_was_written(tree: object) -> None:
    assert foreign.parse_json(orjson.dumps(tree)) == tree


@pytest.mark.parametrize(
    "text", ["[" * 300 + "]" * 300, '{"a":' * 300 + "1" + "}" * 300, "[" * 100_000, "", "nonsense"]
)
def test_what_nests_too_deep_or_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        foreign.parse_json(text)


def test_what_passes_can_be_written_again() -> None:
    deepest = "[" * MOST_LEVELS + "]" * MOST_LEVELS
    assert orjson.dumps(foreign.parse_json(deepest)) == deepest.encode()


@pytest.mark.parametrize("digits", [16, 400, 4000, 100_000])
def test_a_number_of_many_digits_is_no_number(digits: int) -> None:
    try:
        value = foreign.parse_json("9" * digits)
    except ValueError:
        return
    assert as_count(value) is None
    assert as_number(value) is None


@given(st.integers() | st.floats() | st.text() | st.none() | st.booleans())
def test_a_count_is_a_bounded_whole_number_or_none(value: object) -> None:
    found = as_count(value)
    assert found is None or (0 <= found <= LARGEST_COUNT and found == value and not isinstance(value, bool))


@given(st.integers() | st.floats())
def test_a_number_is_finite_or_none(value: float) -> None:
    found = as_number(value)
    assert found is None or (found == value and math.isfinite(found))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"error": {"message": "no", "code": 400}}', "no"),
        ('{"detail": "Not Found"}', "Not Found"),
        ('{"error": "no such model"}', "no such model"),
        ('{"object": "error", "message": {"detail": [{"loc": ["body", "n"], "msg": "Extra"}]}}', "body.n: Extra"),
        (b'{"error": {"message": "it was cut \\u00e4 and', "it was cut ä and"),
        (b'{"error": {"message": "half a \\ud83d and', "half a ? and"),
        ("<html><style>p {}</style><p>Log <b>in</b></p>", "Log in"),
        ("upstream timed out", "upstream timed out"),
        ('{"choices": []}', '{"choices": []}'),
        ("", ""),
    ],
)
def test_an_error_document_is_read_in_its_own_words(body: str | bytes, said: str) -> None:
    assert message(body) == said


@pytest.mark.parametrize(
    "body",
    [
        '{"message": "' * 10**5,
        '{"message":' + " " * 10**6,
        '{"message": "' + "\\" * 10**6,
        "<" * 10**6,
        "<script>" * 10**5,
    ],
)
def test_a_megabyte_of_a_message_is_read_at_once(body: str) -> None:
    begun_s = time.perf_counter()
    message(body)
    assert time.perf_counter() - begun_s < 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": Infinity, "b": -Infinity, "c": NaN}', {"a": None, "b": None, "c": None}),
        ('{"a": 1e999, "b": Infinity}', {"a": None, "b": None}),
        ('["\\ud800", NaN]', ["?", None]),
        ('{"a": [1, 2.5]}', {"a": [1, 2.5]}),
    ],
)
def test_what_python_writes_beside_json_is_read(text: str, found: object) -> None:
    assert parse_python(text) == parse_python(text.encode()) == found


@pytest.mark.parametrize(
    "text", ["[NaN, " + "[" * 5000, "[NaN" + ", [" * 200 + "]" * 201, f"[NaN, {'9' * 5000}]", "[NaN", "\xff"]
)
def test_what_is_no_json_stays_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_python(text)
