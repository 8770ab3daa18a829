"""The closed loop: order, slots, pace, verdicts, and what it leaves behind."""

import gc
import sys
import time
from collections.abc import Callable, Sequence

import pytest

from accelbench.inference.client import Connection
from accelbench.inference.load import Attempt, Pace, Request, closed_loop, undisturbed

from .endpoint_stand_in import StandIn, answer_document, document


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def load(
    server: StandIn,
    keys: Sequence[str],
    verdict: Callable[[Attempt], str] = lambda _: "next",
    *,
    slots: int = 1,
    per_s: float | None = None,
) -> list[Attempt]:
    """Ask all keys and return the attempts in the order in which they ended."""
    attempts: list[Attempt] = []

    def on_attempt(attempt: Attempt) -> str:
        attempts.append(attempt)
        return verdict(attempt)

    epoch_s = time.perf_counter()
    connections = [Connection(server.base_url, connect_s=2, read_s=2, total_s=5, epoch_s=epoch_s) for _ in range(slots)]
    try:
        requests = [Request(key, key.encode()) for key in keys]
        closed_loop(requests, connections, lambda: {"X-Own": "yes"}, on_attempt, Pace(per_s))
    finally:
        for connection in connections:
            connection.close()
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
        attempts = load(server, ["a", "b"], lambda a: "again" if a.key == "a" and a.number < 3 else "next")
    assert [(a.key, a.number) for a in attempts] == [("a", 1), ("a", 2), ("a", 3), ("b", 1)]


def test_stop_ends_the_load_and_keeps_what_was_in_flight() -> None:
    with StandIn(lambda seen: [0.05 if seen.body == b"1" else 0.01, *answer_document()]) as server:
        attempts = load(server, KEYS, lambda a: "stop" if a.key == "0" else "next", slots=2)
    assert sorted(a.key for a in attempts) == ["0", "1"]


def test_an_exception_of_the_verdict_ends_the_load_and_is_raised() -> None:
    def verdict(attempt: Attempt) -> str:
        raise LookupError(attempt.key)

    with StandIn(lambda _: answer_document()) as server, pytest.raises(LookupError, match="0"):
        load(server, KEYS, verdict)
    assert len(server.posts) == 1


def test_an_exception_of_the_headers_is_raised_too() -> None:
    def headers() -> dict[str, str]:
        raise LookupError("no token")

    connection = Connection("http://127.0.0.1:1/v1", connect_s=1, read_s=1, total_s=1, epoch_s=0)
    with pytest.raises(LookupError, match="no token"):
        closed_loop([Request("a", b"")], [connection], headers, lambda _: "next", Pace(None))


def test_verdicts_come_one_at_a_time() -> None:
    inside: list[int] = []
    most: list[int] = []

    def verdict(_: Attempt) -> str:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.002)
        inside.pop()
        return "next"

    with StandIn(lambda _: answer_document()) as server:
        load(server, KEYS, verdict, slots=4)
    assert max(most) == 1


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


def test_the_collector_and_long_slices_are_off_only_while_the_load_runs() -> None:
    before = sys.getswitchinterval(), gc.isenabled(), gc.get_freeze_count()
    during = []
    with StandIn(lambda _: answer_document()) as server:
        load(server, ["a"], lambda _: during.append((sys.getswitchinterval(), gc.isenabled())) or "next")
    assert during == [(pytest.approx(0.0005), False)]
    assert (sys.getswitchinterval(), gc.isenabled(), gc.get_freeze_count()) == before


def test_they_are_put_back_after_an_error_and_never_turned_on_by_it() -> None:
    interval = sys.getswitchinterval()
    gc.disable()
    try:
        with pytest.raises(LookupError), undisturbed():
            raise LookupError
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert sys.getswitchinterval() == interval
