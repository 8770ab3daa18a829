"""An endpoint under one load as a side of a comparison."""

from dataclasses import replace
from typing import Any

import pytest

from accelbench.analysis.pairs import pair_up
from accelbench.analysis.sample import Start

from .records import asked_rounds, failed, request, side


def test_failures_count_as_asked_and_have_no_latency() -> None:
    made = side("one", [request(), failed(key="p2"), request(key="p3", class_="truncated_length")])
    assert (len(made.requests), len(made.good), made.latencies_s.tolist()) == (3, 2, [2.0, 2.0])
    assert made.values("success").tolist() == [1.0, 0.0, 1.0]


def test_warm_up_and_repeated_attempts_are_left_out() -> None:
    made = side("one", [request(warm_up=True), request(last_attempt=False), request()])
    assert len(made.requests) == 1


def test_speeds_are_tokens_over_latencies() -> None:
    made = side("one", [request(), request(key="p2", e2e_s=3.0)])
    assert made.tok_per_s("completion_tokens") == pytest.approx(20 / 5)
    assert made.tok_per_s("total_tokens") == pytest.approx(200 / 5)
    assert side("one", [request(prompt_tokens=None)]).tok_per_s("total_tokens") is None


def test_batched_streams_have_no_times_between_tokens() -> None:
    made = side("one", [request(streaming="batched")])
    assert len(made.observations("ttft_s")) == 0 and len(made.observations("e2e_s")) == 1


def test_the_law_is_of_counted_answers_only() -> None:
    law, why = side("one", asked_rounds("one", lambda n: 1 + n / 100)).law
    assert why is None and law is not None
    assert (law.fit.a_s, law.fit.b_s_per_tok) == pytest.approx((1.0, 0.01))
    assert side("one", asked_rounds("one", lambda n: 1 + n / 100, tokens_estimated=True)).law[0] is None


def test_a_round_lasts_from_its_first_request_to_its_last_answer() -> None:
    assert side("one", asked_rounds("one", lambda n: 2.0)).s_per_round() == pytest.approx(37.0)
    assert side("one", [request(sent_unix_s=None)]).s_per_round() is None


@pytest.mark.parametrize(("later", "lasts_s"), [({"start_up_s": 50}, 77.0), ({"kept_since": "10:00"}, 37.0)])
def test_a_round_also_takes_the_start_of_its_server_unless_that_is_kept(later: dict[str, Any], lasts_s: float) -> None:
    start = Start.of([{"start_up_s": 30.0}, later])
    asked = replace(side("one", asked_rounds("one", lambda n: 2.0)), start=start)
    assert asked.s_per_round() == pytest.approx(lasts_s)
    started_once_s = start.lasts_s if start.is_kept else 0.0
    assert pair_up(asked, side("two", asked_rounds("two", lambda n: 2.0)), 60).start_s == started_once_s
