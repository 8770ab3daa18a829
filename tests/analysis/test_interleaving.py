"""Interleaved or not: by the recorded times and hosts alone."""

import pytest

from accelbench.analysis.sample import Side, interleaving
from accelbench.store.requests import Requests

from .records import request

HOUR_S = 3600.0


def asked(sent_unix_s: dict[tuple[int, int], float | None], host: str | None = "one") -> Side:
    """Return a side by when each prompt (round, key) was sent."""
    requests = [request(round=number, key=str(k), sent_unix_s=at) for (number, k), at in sent_unix_s.items()]
    return Side("one", "load", Requests.of(requests), dict.fromkeys(range(9), host))


def times(offset_s: float, n: int = 20) -> dict[tuple[int, int], float | None]:
    return {(k // 5, k): 1e9 + 600 * k + offset_s for k in range(n)}


def sent(offset_s: float, *, host: str | None = "one") -> Side:
    return asked(times(offset_s), host)


def test_rounds_in_turn_are_interleaved() -> None:
    found = interleaving(sent(0), sent(-120), HOUR_S)
    assert found.interleaved
    assert (found.near.sum(), len(found.ours), found.widest_gap_s) == (20, 20, 120)


def test_all_of_one_before_all_of_the_other_is_not() -> None:
    found = interleaving(sent(0), sent(5 * HOUR_S), HOUR_S)
    assert not found.interleaved
    assert found.why_not == "the same prompt was sent to the two up to 18000 s apart; at most 3600 s is allowed"


def in_rounds(*starts_s: float, n: int = 4) -> Side:
    """Return rounds of which each asks its prompts within 30 s."""
    return asked({(number, k): 1e9 + start_s + 10 * k for number, start_s in enumerate(starts_s) for k in range(n)})


def test_all_of_one_before_all_of_the_other_is_not_however_close() -> None:
    found = interleaving(in_rounds(0, 100, 200), in_rounds(300, 400, 500), HOUR_S)
    assert found.why_not == "the rounds of the two were not interleaved"


def test_one_that_was_always_first_is_not() -> None:
    found = interleaving(in_rounds(0, 200, 400), in_rounds(100, 300, 500), HOUR_S)
    assert found.why_not == "one side was measured first in 3 of 3 rounds, so a drift would look like a difference"


def test_rounds_that_took_turns_in_being_first_are() -> None:
    assert interleaving(in_rounds(0, 300, 400), in_rounds(100, 200, 500), HOUR_S).interleaved


def test_rounds_asked_at_the_same_time_have_no_first() -> None:
    assert interleaving(in_rounds(0, 200, 400), in_rounds(5, 205, 405), HOUR_S).interleaved


def test_another_host_is_not() -> None:
    found = interleaving(sent(0), sent(1, host="two"), HOUR_S)
    assert found.why_not == "of 20 pairs, 20 were not sent from one known host"


@pytest.mark.parametrize("other", [sent(1, host=None), asked(dict.fromkeys(times(0)))])
def test_what_was_not_recorded_does_not_count_as_near(other: Side) -> None:
    found = interleaving(sent(0), other, HOUR_S)
    assert not found.interleaved and not found.near.any()


def test_a_single_late_pair_is_left_out_and_spoils_nothing() -> None:
    found = interleaving(sent(0), asked({**times(1), (3, 19): 2e9}), HOUR_S)
    assert found.interleaved
    assert (found.near.sum(), found.near[19]) == (19, False)


def test_other_prompts_make_no_pair() -> None:
    assert interleaving(sent(0), asked({}), HOUR_S).why_not == "no prompt was asked of both in the same round"


def test_a_wider_limit_never_takes_a_pair_away() -> None:
    sizes = [interleaving(sent(0), sent(100.0), limit).near.sum() for limit in (0, 99, 100, 1e9)]
    assert sizes == [0, 0, 20, 20]
