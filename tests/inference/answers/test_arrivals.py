"""When tokens came: latencies by their definitions, and streams that a gateway batches."""

import json
import random
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelbench.inference.answers.classify import ArrivalTimes, arrival_times, streaming
from accelbench.inference.answers.events import Read, TokenEvent, parse_answer

from ..endpoint_stand_in import DONE, delta, tokens, usage

STREAM = b"".join(step for step in tokens("Par", "is") if isinstance(step, bytes))


def times_of(*reads: Read, count: int | None = None, streamed: bool = True) -> ArrivalTimes:
    return arrival_times(parse_answer(reads, streamed=streamed), count, sent_s=1.0, last_byte_s=reads[-1][0])


def test_ttft_and_e2e_count_from_the_sent_request_to_the_first_and_last_token() -> None:
    timed = times_of((1.2, delta(role="assistant")), (1.5, delta("a")), (3.0, delta("b")), (4.0, DONE))
    assert (timed.ttft_s, timed.e2e_s) == (0.5, 2.0)


def test_ttft_takes_a_reasoning_token_and_ttfat_the_first_of_the_answer() -> None:
    timed = times_of((1.5, delta(reasoning="hm")), (2.0, delta("a")))
    assert (timed.ttft_s, timed.ttfat_s) == (0.5, 1.0)


def test_ttft_takes_the_token_of_a_tool_call() -> None:
    timed = times_of((1.5, delta(None, tool_calls=[{"function": {"arguments": "{"}}])), (2.0, usage(3)))
    assert (timed.ttft_s, timed.ttfat_s) == (0.5, None)


def test_a_reasoning_only_answer_has_no_ttfat() -> None:
    assert times_of((1.5, delta(reasoning="hm"))).ttfat_s is None


def test_an_unstreamed_answer_has_only_e2e_to_its_last_byte() -> None:
    body = json.dumps({"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}).encode()
    assert times_of((2.0, body[:9]), (3.0, body[9:]), count=4, streamed=False) == ArrivalTimes(None, None, None, 2.0)


def test_tpot_divides_by_the_tokens_after_the_first() -> None:
    reads = [(2.0 + 0.1 * n, delta("word")) for n in range(11)]
    assert times_of(*reads, count=11).tpot_s == pytest.approx(0.1)


def test_tpot_takes_the_count_where_events_hold_several_tokens() -> None:
    reads = [(2.0 + n, delta("four tokens here now")) for n in range(5)]
    assert times_of(*reads, count=20).tpot_s == pytest.approx(4 / 16)


def test_tpot_leaves_out_all_tokens_of_the_first_read() -> None:
    reads = [(2.0, delta("word") * 20), *((2.0 + 0.1 * n, delta("word")) for n in range(1, 61))]
    assert times_of(*reads, count=80).tpot_s == pytest.approx(0.1)


@pytest.mark.parametrize(("first", "said"), [(25, True), (26, False)])
def test_tpot_is_null_when_the_first_event_held_more_than_a_quarter_of_the_tokens(first: int, said: bool) -> None:
    reads = [(2.0, delta("x" * first)), (3.0, delta("x" * (100 - first)))]
    assert (times_of(*reads, count=100).tpot_s is not None) is said


def test_a_long_first_word_is_one_token_where_events_and_tokens_are_as_many() -> None:
    reads = [(2.0, delta("Photosynthesis")), *((2.0 + n, delta("a")) for n in range(1, 5))]
    assert times_of(*reads, count=6).tpot_s == pytest.approx(4 / 5)  # the sixth is the end token


def test_tpot_is_null_without_a_count_and_when_all_came_at_once() -> None:
    assert times_of(*((2.0 + n, delta("a")) for n in range(8))).tpot_s is None
    assert times_of((2.0, STREAM), count=2).tpot_s is None


# --- the arrival pattern ------------------------------------------------------------------------------------


def arriving(*at_s: float) -> list[TokenEvent]:
    return [TokenEvent(at, 4, "answer") for at in at_s]


def steps(sizes: Sequence[int], step_s: float, within_s: float = 0.0) -> Iterator[float]:
    """Yield the times of events that come `sizes` at a time, a step apart."""
    for number, size in enumerate(sizes):
        yield from (number * step_s + within_s * place for place in range(size))


@pytest.mark.parametrize(
    "at_s",
    [
        steps([20, 20, 20, 4], 0.25),
        steps([20, 20, 20, 20, 12], 0.25, 0.0005),  # written one by one
        steps([1, 14, 15, 15, 14, 3], 0.5),
        steps([5, 5, 4, 5], 0.5),
        steps([40], 0.0),
    ],
    ids=["20 chunks", "20 chunks, one write each", "half a second", "half a second, slowly", "collected whole"],
)
def test_a_batching_gateway_is_seen(at_s: Iterator[float]) -> None:
    assert streaming(arriving(*at_s)) == "batched"


@pytest.mark.parametrize(
    "at_s",
    [
        steps([1] * 64, 0.02),
        steps([1] * 12, 0.13),
        steps([1, 2, 1, 3, 2, 1, 1, 2], 0.12),
        steps([4] * 16, 0.04),
        steps([1, 5, 4, 1, 5, 2, 5, 3, 4], 0.2),
        [n * 0.01 + (0.5 if n > 30 else 0) for n in range(64)],
        [n * 0.0006 for n in range(64)],
    ],
    ids=["a token a read", "slow", "joined by TCP", "speculative", "speculative and slow", "one pause", "1,700 tok/s"],
)
def test_a_faithful_stream_is_none(at_s: Iterator[float]) -> None:
    assert streaming(arriving(*at_s)) == "faithful"


@given(st.floats(0.001, 0.3), st.integers(10, 200), st.integers(0, 10**6))
def test_a_token_at_a_time_with_any_jitter_is_faithful(gap_s: float, count: int, seed: int) -> None:
    draw = random.Random(seed)
    at_s, now_s = [], 0.0
    for _ in range(count):
        at_s.append(now_s)
        now_s += gap_s * draw.uniform(0.5, 1.5)
    assert streaming(arriving(*at_s)) in ("faithful", None)


@given(st.integers(8, 20), st.integers(5, 12), st.floats(0.1, 0.5))
def test_batches_of_any_size_are_seen(size: int, count: int, beat_s: float) -> None:
    assert streaming(arriving(*steps([size] * count, beat_s, 0.0002))) == "batched"


@pytest.mark.parametrize("sizes", [[9], [1] * 9, [20, 5], [20, 20, 7]])
def test_few_events_and_few_batches_tell_nothing(sizes: list[int]) -> None:
    assert streaming(arriving(*steps(sizes, 0.3))) is None


def test_an_unstreamed_answer_is_none() -> None:
    assert streaming([]) == "none"
