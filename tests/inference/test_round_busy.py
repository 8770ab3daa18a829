"""A round against an endpoint that is busy, and one whose model is being loaded."""

import email.utils
import itertools
import json
import time
from collections import Counter
from typing import Any

import pytest

from accelbench.errors import UserError

from .endpoint_stand_in import CLOSE, Script, Seen, StandIn, document, error, stream
from .rounds import ROUND, always, attempts_of, config_for, here, measure, record_of, requests_of  # noqa: F401


@pytest.mark.parametrize(("status", "shared"), [(429, True), (503, False)])
def test_a_busy_answer_is_an_attempt_of_its_own_and_its_wait_no_latency(status: int, shared: bool) -> None:
    busy = document({"error": "busy"}, status, Retry_After="1")
    with StandIn([stream(), stream(), busy, busy, *[stream()] * 3]) as server:
        config = config_for(server.base_url, endpoint={"busy_wait_s": 5.0, "shared": shared})
        folder = measure(config)
        requests = [r for r in requests_of(config, folder) if not r.warm_up]
    kind = "rate_limited" if status == 429 else "http_5xx"
    assert [(r.class_, r.attempt) for r in requests[:4]] == [("ok", 1), (kind, 1), (kind, 2), ("ok", 3)]
    again = requests[3]
    assert again.last_attempt and again.e2e_s is not None and again.e2e_s < 0.5
    tries = attempts_of(folder, again.key)
    waits = [late["dequeued_s"] - early["end_s"] for early, late in itertools.pairwise(tries)]
    assert all(1.0 <= wait < 1.5 for wait in waits)


RETRY_AFTER = {  # what is said: how often the request is sent, if it may wait for 1.5 s and gets 429, 429, 200
    "1": 2,  # and then another second would be too much
    "0": 2,  # no time to wait: the usual steps of 1, 2, 4 … s
    "": 2,
    "soon": 2,
    "-5": 2,
    "²": 2,
    "Mon, 99 Jan 99999 00:00:00 GMT": 2,
    "Thu, 01 Jan 1970 00:00:00 GMT": 2,
    "86400": 1,
    "9" * 400: 1,
    "Fri, 01 Jan 2100 00:00:00 GMT": 1,
}


def test_waits_are_bounded_whatever_retry_after_says() -> None:
    unsaid, said_to = iter(RETRY_AFTER), dict[str, str]()

    def answer(seen: Seen) -> Script:
        if seen.content not in said_to:
            said_to[seen.content] = next(unsaid)
        return document({"error": "busy"}, 429, Retry_After=said_to[seen.content])

    slots = len(RETRY_AFTER)
    with StandIn(answer) as server:
        load = {"requests": slots, "concurrency": slots, "rounds": 1, "warm_up": 0}
        config = config_for(server.base_url, endpoint={"busy_wait_s": 1.5}, **load)
        requests = requests_of(config, measure(config))
    sent = Counter(said_to[seen.content] for seen in server.posts)
    assert sent == RETRY_AFTER
    assert {r.class_ for r in requests} == {"rate_limited"}


def test_retry_after_as_a_date_is_honoured() -> None:
    date = email.utils.formatdate(time.time() + 2.5, usegmt=True)
    busy = document({"error": "busy"}, 429, Retry_After=date)
    with StandIn([stream(), busy, *[stream()] * 4]) as server:
        folder = measure(config_for(server.base_url, endpoint={"busy_wait_s": 5.0}))
    first, again = attempts_of(folder)[:2]
    assert 1.0 < again["dequeued_s"] - first["end_s"] < 3.0


def test_in_open_loop_a_busy_answer_is_a_failed_arrival_and_shifts_no_other() -> None:
    busy = document({"error": "busy"}, 429, Retry_After="1")
    with StandIn([stream(), stream(), busy, *[stream()] * 4]) as server:
        load = {"arrivals": "constant", "rate_per_s": 50.0, "requests": 6}
        config = config_for(server.base_url, endpoint={"busy_wait_s": 60.0}, **load)
        requests = [r for r in requests_of(config, measure(config)) if not r.warm_up]
    assert sorted(r.class_ for r in requests) == [*["ok"] * 5, "rate_limited"]
    scheduled = sorted(r.scheduled_unix_s or 0 for r in requests)
    assert [late - early for early, late in itertools.pairwise(scheduled)] == pytest.approx([0.02] * 5, abs=1e-3)
    assert all((r.sent_unix_s or 0) - (r.scheduled_unix_s or 0) < 0.02 for r in requests)


@pytest.mark.parametrize("load", [{}, {"arrivals": "constant", "rate_per_s": 200.0}])
def test_a_model_that_is_being_loaded_is_waited_for_before_the_load(load: dict[str, Any]) -> None:
    loading = document({"error": "loading"}, 503, Retry_After="1")
    with StandIn([error(408), loading, loading, *[stream()] * 8]) as server:
        config = config_for(server.base_url, endpoint={"ready_timeout_s": 30.0}, warm_up=2, **load)
        folder = measure(config)
        requests = requests_of(config, folder)
    measured = [r for r in requests if not r.warm_up]
    assert [r.class_ for r in measured] == ["ok"] * 4
    assert [r.http_status for r in requests if r.warm_up] == [408, 503, 503, 200]
    assert record_of(folder)["endpoint"]["cold_start_s"] == pytest.approx(2.0, abs=0.4)


def test_a_model_that_never_gets_up_ends_the_round_which_is_then_measured_whole() -> None:
    with StandIn(always(error(503))) as server:
        with pytest.raises(UserError, match=r"one: m still answered 503 after .*same command continues"):
            measure(config_for(server.base_url))
        assert len(server.posts) <= 4
    assert json.loads((ROUND / "failure.json").read_text())["not_ready"] is True
    with StandIn(always(stream()), port=server.port) as again:
        config = config_for(again.base_url)
        requests = requests_of(config, measure(config))
    assert [r.class_ for r in requests if r.last_attempt] == ["ok"] * 5


@pytest.mark.parametrize("load", [{"concurrency": 3}, {"arrivals": "poisson", "rate_per_s": 500.0, "max_in_flight": 3}])
def test_never_more_requests_are_in_flight_than_configured_whatever_is_sent_again(load: dict[str, Any]) -> None:
    scripts = itertools.cycle([[0.01, *stream()], [0.01, CLOSE], [0.01, *error(500)], [0.01, *stream()]])
    with StandIn(lambda _: next(scripts)) as server:
        measure(config_for(server.base_url, requests=40, warm_up=0, **load))
    assert server.most_in_flight == 3


def test_requests_per_s_is_kept_to_across_warm_up_slots_and_retries() -> None:
    busy = document({}, 429, Retry_After="0")
    with StandIn([stream(), stream(), busy, *[stream()] * 12]) as server:
        endpoint = {"requests_per_s": 20.0, "busy_wait_s": 5.0}
        measure(config_for(server.base_url, endpoint=endpoint, requests=10, concurrency=4))
    moments = [seen.at_s for seen in server.posts]
    assert len(moments) == 12
    for first in range(len(moments) - 4):
        assert moments[first + 4] - moments[first] >= 4 / 20 - 0.03
