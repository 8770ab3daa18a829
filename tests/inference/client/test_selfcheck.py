"""The client's check on itself: what it counts as late, and when it says that it was the limit."""

import asyncio
import time

import pytest

from accelbench.inference.client.http import Exchange
from accelbench.inference.client.load import Attempt, SelfCheck


def attempt(sent_s: float, *, reused: bool = True, scheduled_s: float | None = None, number: int = 1) -> Attempt:
    """Return an attempt whose slot turned to it at 10 s."""
    return Attempt("q", number, 10.0, Exchange(sent_s=sent_s, reused=reused), scheduled_s)


def watched(attempts: list[Attempt], busy_s: float = 0.0) -> dict[str, float | int | bool | None]:
    """Return the facts of a fifth of a second, in which the loop is once blocked for `busy_s`."""

    async def load() -> SelfCheck:
        check = SelfCheck()
        beats = asyncio.create_task(check.run())
        await asyncio.sleep(0.1)
        time.sleep(busy_s)
        await asyncio.sleep(0.1)
        beats.cancel()
        await asyncio.gather(beats, return_exceptions=True)
        for each in attempts:
            check.attempt(each)
        return check

    return asyncio.run(load()).facts()


@pytest.mark.parametrize(
    ("late", "counted"),
    [
        (attempt(10.02), 1),
        (attempt(10.005), 0),
        (attempt(10.02, reused=False), 0),  # it waited for its connection, which is not the client's doing
        (attempt(10.005, scheduled_s=9.9), 1),
        (attempt(10.005, scheduled_s=9.9, number=2), 0),  # sent again: it was not due at its first time
    ],
)
def test_a_send_is_late_after_its_turn_or_its_time(late: Attempt, counted: int) -> None:
    assert watched([late])["late_sends"] == counted


@pytest.mark.parametrize(("late", "sends", "limited"), [(1, 8, False), (2, 8, True), (2, 400, False), (5, 400, True)])
def test_more_than_one_late_send_and_one_in_a_hundred_make_the_client_the_limit(
    late: int, sends: int, limited: bool
) -> None:
    check = SelfCheck()
    check._lags_s, check._wall_s = [0.0001] * 100, 1.0
    for number in range(sends):
        check.attempt(attempt(10.02 if number < late else 10.001))
    assert check.facts()["limited"] is limited


def test_a_blocked_loop_shows_in_its_lag() -> None:
    facts = watched([], busy_s=0.08)
    assert facts["limited"] is True
    assert 0.02 < float(facts["lag_p99_s"] or 0) < 0.2


def test_nothing_is_said_of_no_time_at_all() -> None:
    assert SelfCheck().facts()["limited"] is None
