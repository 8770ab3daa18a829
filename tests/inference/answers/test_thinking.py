"""Thinking between tags inside an answer's text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelbench.inference.answers.events import CLOSING, PAIRS, parse_answer, split_thinking, thinking_spans

from ..endpoint_stand_in import delta


@pytest.mark.parametrize("opening", PAIRS)
def test_a_block_of_thinking_is_no_part_of_the_answer(opening: str) -> None:
    closing = PAIRS[opening]
    assert split_thinking(f"{opening}\nMaybe Paris?{closing}\n\nRome") == ("Rome", "\nMaybe Paris?")


@pytest.mark.parametrize("closing", sorted(CLOSING))
def test_a_closing_tag_alone_ends_thinking_that_the_template_began(closing: str) -> None:
    assert split_thinking(f"Maybe Paris?{closing}\nRome") == ("Rome", "Maybe Paris?")


@pytest.mark.parametrize(
    ("text", "answer", "thinking"),
    [
        ("<think>Maybe Paris", "", "Maybe Paris"),
        ("\n <think>Maybe Paris", "", "Maybe Paris"),
        ("<think></think>\n\nRome", "Rome", ""),
        ("<think>a</think>Rome <think>b</think>is", "Rome is", "ab"),
        ("<think>a</think>\n<think>b", "", "ab"),
        ("Rome.\n<think>Or Paris", "Rome.\n", "Or Paris"),
        ("Write <think> before it.", "Write <think> before it.", ""),
        ("Rome", "Rome", ""),
        ("", "", ""),
    ],
    ids=["unclosed", "blanks before", "empty", "two blocks", "a second, unclosed", "a later one", "a word", "none", ""],
)
def test_what_counts_as_thinking(text: str, answer: str, thinking: str) -> None:
    assert split_thinking(text) == (answer, thinking)


@given(st.lists(st.sampled_from(["<think>", "</think>", "[THINK]", "a", "\n", " Paris"]), max_size=8))
def test_blocks_are_in_order_apart_and_within_the_text(parts: list[str]) -> None:
    text = "".join(parts)
    edges = [edge for span in thinking_spans(text) for edge in span]
    assert edges == sorted(edges)
    assert all(0 <= edge <= len(text) for edge in edges)


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "Maybe Paris? ", "\n", "Rome ", "é"]), max_size=8),
    st.lists(st.integers(1, 9), min_size=1, max_size=9),
)
def test_tags_are_seen_wherever_deltas_cut_them_and_each_event_is_what_it_brought(
    parts: list[str], lengths: list[int]
) -> None:
    text, pieces, place = "".join(parts), [], 0
    while place < len(text):
        length = lengths[len(pieces) % len(lengths)]
        pieces.append(text[place : place + length])
        place += length
    answer = parse_answer([(float(n), delta(piece)) for n, piece in enumerate(pieces)], streamed=True)
    assert (answer.answer, answer.reasoning) == split_thinking(text)
    where = [n for span in thinking_spans(text) for n in range(*span)]
    begin = 0
    for event, piece in zip(answer.token_events, pieces, strict=True):
        shown = "".join(letter for n, letter in enumerate(piece, begin) if n not in where)
        assert event.kind == ("answer" if shown.strip() or not where else "reasoning")
        begin += len(piece)
