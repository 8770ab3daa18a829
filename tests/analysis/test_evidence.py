"""The parts of the fixed cost add up, or it is said why they don't."""

import pytest

from accelbench.analysis.evidence import FixedCost, fixed_cost
from accelbench.analysis.sample import Side
from accelbench.store.records import RequestRecord
from accelbench.store.requests import Requests

from .records import request

HEALTH_S = [0.01, 0.02, 0.5]


def streamed(key: str, ttft_s: float, **given: object) -> RequestRecord:
    """Return a stream of 11 tokens, 10 ms each after the first: a = TTFT less 10 ms."""
    times = {"ttft_s": ttft_s, "tpot_s": 0.01, "e2e_s": ttft_s + 0.1, "completion_tokens": 11}
    return request(**{"key": key, "passage": key, "streaming": "faithful", **times, **given})


def split(requests: list[RequestRecord], health_s: list[float]) -> FixedCost:
    side = Side("one", "load", Requests.of(requests))
    law, why = side.law
    assert law is not None, why
    return fixed_cost(side, law, health_s)


def test_floor_server_and_rest_of_a_stream_add_up() -> None:
    found = split([streamed("p", 0.5, server_ttft_s=0.4), streamed("q", 0.7, server_ttft_s=0.5)], HEALTH_S)
    assert found.total_s == pytest.approx(0.59)  # the mean TTFT, 0.6 s, less a token's 0.01 s
    assert found.floor_s == 0.02
    assert found.server_s == pytest.approx(0.44)  # 0.45 s on average, less that token's time
    assert found.rest_s == pytest.approx(0.13)  # 0.6 - 0.45 s passed outside of it, 0.02 s of that on the way
    assert found.why_no_split is None


def test_answers_that_were_not_streamed_are_split_by_the_whole_request() -> None:
    lengths = (10, 20, 40, 80)
    asked = [
        request(key=str(n), passage=str(n), completion_tokens=n, e2e_s=0.3 + 0.01 * n, ttft_s=None, tpot_s=None,
                streaming="none", overhead_s=0.1)
        for n in lengths
    ]  # fmt: skip
    found = split(asked, HEALTH_S)
    assert (found.total_s, found.server_s, found.rest_s) == pytest.approx((0.3, 0.2, 0.08))


def test_without_server_times_the_rest_holds_the_server() -> None:
    found = split([streamed("p", 0.5, server_ttft_s=0.4), streamed("q", 0.5)], HEALTH_S)
    assert (found.server_s, found.rest_s) == (None, pytest.approx(0.47))
    assert found.why_no_split == "the server does not report its times, so the rest includes them"


def test_without_health_calls_there_is_no_floor_and_no_rest() -> None:
    found = split([streamed(key, 0.5, server_ttft_s=0.4) for key in "pq"], [])
    assert (found.floor_s, found.server_s, found.rest_s) == (None, pytest.approx(0.39), None)
    assert found.why_no_split == "no health calls were timed"


@pytest.mark.parametrize("server_ttft_s", [0.495, 0.002], ids=["no time is left for the way", "no time for the server"])
def test_parts_beyond_the_whole_are_no_split(server_ttft_s: float) -> None:
    found = split([streamed(key, 0.5, server_ttft_s=server_ttft_s) for key in "pq"], HEALTH_S)
    assert (found.server_s, found.rest_s, found.why_no_split) == (None, None, "the parts exceed the fixed cost")
