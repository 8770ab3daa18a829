"""Closed and open loop: order, slots, pace, verdicts, and what they leave behind."""

import gc
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from accelbench.config import Scenario
from accelbench.inference.api import Request
from accelbench.inference.client.http import Connection
from accelbench.inference.client.load import (
    Attempt,
    Sender,
    SendPace,
    closed_loop,
    open_loop,
    run_load,
    undisturbed,
    waits_s,
)

from ..endpoint_stand_in import StandIn, answer_document, document


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def load(
    server: StandIn,
    keys: Sequence[str],
    verdict: Callable[[Attempt], float | None] = lambda _: None,
    *,
    slots: int = 1,
    per_s: float | None = None,
    headers: Callable[[], dict[str, str]] = lambda: {"X-Own": "yes"},
    gaps_s: Sequence[float] | None = None,
    **settings: float,
) -> list[Attempt]:
    """Ask all keys and return the attempts in the order in which they ended."""
    attempts: list[Attempt] = []

    async def on_attempt(attempt: Attempt) -> float | None:
        attempts.append(attempt)
        return verdict(attempt)

    epoch_s = time.perf_counter()
    connections = [Connection(server.base_url, connect_s=2, read_s=2, total_s=5, epoch_s=epoch_s) for _ in range(slots)]
    requests = [Request(key, key.encode()) for key in keys]

    async def whole() -> None:
        sender = Sender(connections, headers, on_attempt, SendPace(per_s))
        try:
            await sender.open_all()
            if gaps_s is None:
                await closed_loop(requests, sender, **settings)
            else:
                await open_loop(requests, sender, gaps_s, **settings)
        finally:
            for connection in connections:
                connection.close()

    run_load(whole())
    return attempts


KEYS = [str(number) for number in range(12)]


def test_one_slot_asks_in_order_once_each() -> None:
    with StandIn(lambda _: answer_document()) as server:
        attempts = load(server, KEYS)
    assert [seen.body.decode() for seen in server.posts] == KEYS
    assert [(a.key, a.number) for a in attempts] == [(key, 1) for key in KEYS]


@pytest.mark.parametrize("slots", [1, 3])
def test_as_many_requests_are_in_flight_as_there_are_slots(slots: int) -> None:
    with StandIn(lambda _: [0.02, *answer_document()]) as server:
        attempts = load(server, KEYS, slots=slots)
    assert server.most_in_flight == slots
    assert sorted(a.key for a in attempts) == sorted(KEYS)


def test_a_slot_keeps_its_connection() -> None:
    with StandIn(lambda _: [0.01, *answer_document()]) as server:
        load(server, KEYS, slots=3)
    assert len({seen.connection for seen in server.posts}) == 3


def test_again_asks_the_same_request_before_the_next() -> None:
    with StandIn(lambda _: answer_document()) as server:
        attempts = load(server, ["a", "b"], lambda a: 0.0 if a.key == "a" and a.number < 3 else None)
    assert [(a.key, a.number) for a in attempts] == [("a", 1), ("a", 2), ("a", 3), ("b", 1)]


def test_an_exception_of_the_verdict_ends_the_load_and_is_raised() -> None:
    def verdict(attempt: Attempt) -> float | None:
        raise LookupError(attempt.key)

    with StandIn(lambda _: answer_document()) as server, pytest.raises(LookupError, match="0"):
        load(server, KEYS, verdict)
    assert len(server.posts) == 1


def test_an_exception_of_the_headers_is_raised_too() -> None:
    def headers() -> dict[str, str]:
        raise LookupError("no token")

    with StandIn(lambda _: answer_document()) as server, pytest.raises(LookupError, match="no token"):
        load(server, ["a"], headers=headers)


def test_pace_keeps_sends_apart_across_slots() -> None:
    with StandIn(lambda _: answer_document()) as server:
        load(server, KEYS[:6], slots=3, per_s=50)
    moments = sorted(seen.at_s for seen in server.posts)
    assert moments[-1] - moments[0] >= 5 / 50 - 0.01


def test_waiting_for_the_pace_is_no_part_of_the_attempt() -> None:
    with StandIn(lambda _: answer_document()) as server:
        attempts = load(server, KEYS[:3], per_s=20)
    waited = [a.exchange.sent_s - a.dequeued_s for a in attempts if a.exchange.sent_s is not None]
    assert len(waited) == 3
    assert max(waited) < 0.04


def test_failures_do_not_end_the_load() -> None:
    with StandIn(lambda seen: document({}, 500 if seen.body == b"1" else 200)) as server:
        attempts = load(server, KEYS)
    assert [a.exchange.status for a in attempts] == [200, 500, *[200] * 10]


def test_a_request_is_sent_again_after_its_wait() -> None:
    with StandIn(lambda _: answer_document()) as server:
        attempts = load(server, ["a"], lambda a: 0.1 if a.number == 1 else None)
    ended, again = attempts[0].exchange.end_s, attempts[1].dequeued_s
    assert ended is not None and again - ended >= 0.1


def test_slots_begin_spread_over_the_ramp() -> None:
    with StandIn(lambda _: [0.3, *answer_document()]) as server:
        attempts = load(server, KEYS[:4], slots=4, ramp_up_s=0.2)
    begun = sorted(a.dequeued_s for a in attempts)
    assert [late - begun[0] for late in begun] == pytest.approx([0, 0.05, 0.1, 0.15], abs=0.03)


def test_after_its_duration_no_request_begins() -> None:
    with StandIn(lambda _: [0.05, *answer_document()]) as server:
        attempts = load(server, KEYS, duration_s=0.12)
    assert [a.key for a in attempts] == KEYS[: len(attempts)]
    assert 1 <= len(attempts) <= 3  # fewer on a busy host


def test_open_loop_sends_at_the_scheduled_times_whatever_becomes_of_the_requests() -> None:
    with StandIn(lambda _: [0.2, *answer_document()]) as server:
        attempts = load(server, KEYS[:5], slots=5, gaps_s=[0.0, 0.03, 0.03, 0.03, 0.03])
    scheduled = sorted(a.scheduled_s for a in attempts if a.scheduled_s is not None)
    assert [late - early for early, late in itertools.pairwise(scheduled)] == pytest.approx([0.03] * 4)
    assert server.most_in_flight == 5
    assert all(a.exchange.sent_s is not None and a.scheduled_s is not None for a in attempts)
    assert max(a.exchange.sent_s - a.scheduled_s for a in attempts) < 0.02  # type: ignore[operator]


def test_open_loop_beyond_its_cap_sends_late_and_shifts_no_later_arrival() -> None:
    with StandIn(lambda _: [0.1, *answer_document()]) as server:
        attempts = load(server, KEYS[:3], slots=1, gaps_s=[0.0, 0.01, 0.01])
    late = {a.key: a.dequeued_s - a.scheduled_s for a in attempts if a.scheduled_s is not None}
    assert server.most_in_flight == 1
    assert late["0"] < 0.02 < 0.07 < late["1"] < 0.13 < 0.16 < late["2"]


def arriving(kind: str, requests: int = 4000, **given: Any) -> Scenario:
    return Scenario.model_validate({"arrivals": kind, "rate_per_s": 4, "requests": requests, **given})


def test_gaps_are_drawn_from_the_seed() -> None:
    constant, poisson = arriving("constant", requests=3), arriving("poisson")
    assert waits_s(constant, "a") == [0, 0.25, 0.25]
    drawn = waits_s(poisson, "a")
    assert drawn == waits_s(poisson, "a") != waits_s(poisson, "b")
    assert statistics.fmean(drawn) == pytest.approx(0.25, rel=0.05)
    assert statistics.stdev(drawn) == pytest.approx(0.25, rel=0.07)


@pytest.mark.parametrize("burstiness", [0.25, 4.0])
def test_gamma_arrivals_vary_by_their_shape(burstiness: float) -> None:
    drawn = waits_s(arriving("gamma", burstiness=burstiness), "a")
    assert statistics.fmean(drawn) == pytest.approx(0.25, rel=0.1)
    assert statistics.stdev(drawn) / statistics.fmean(drawn) == pytest.approx(burstiness**-0.5, rel=0.1)


@pytest.mark.parametrize("to_per_s", [1.0, 16.0])
@pytest.mark.parametrize("kind", ["constant", "poisson"])
def test_a_ramp_changes_the_rate_evenly(kind: str, to_per_s: float) -> None:
    at_s = list(itertools.accumulate(waits_s(arriving(kind, ramp_to_per_s=to_per_s), "a")))
    lasts_s = 2 * len(at_s) / (4 + to_per_s)
    assert at_s[-1] == pytest.approx(lasts_s, rel=0.06)
    for part in (0.25, 0.5, 0.75):
        rate_per_s = 4 + (to_per_s - 4) * part
        came = sum(at <= part * lasts_s for at in at_s)
        assert came == pytest.approx(part * lasts_s * (4 + rate_per_s) / 2, rel=0.08)


def test_the_collector_is_off_only_while_the_load_runs() -> None:
    before = gc.isenabled(), gc.get_freeze_count()
    during: list[bool] = []
    with StandIn(lambda _: answer_document()) as server:
        load(server, ["a"], lambda _: during.append(gc.isenabled()))
    assert during == [False]
    assert (gc.isenabled(), gc.get_freeze_count()) == before


def test_it_is_put_back_after_an_error_and_never_turned_on_by_it() -> None:
    gc.disable()
    try:
        with pytest.raises(LookupError), undisturbed():
            raise LookupError
        assert not gc.isenabled()
    finally:
        gc.enable()
