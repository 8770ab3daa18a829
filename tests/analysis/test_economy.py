"""What a load yields: goodput, cost, energy, the share of a bound."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accelbench.analysis.economy import Economy, economy
from accelbench.analysis.load import Load
from accelbench.config import Endpoint, GoodputLimits
from accelbench.store.records import RequestRecord

from .records import asked_rounds, failed, measured, rows_of, sides

ROOT = Path(__file__).parents[2]
COST = {"price_per_hour": 3.6, "power_w": 1000, "source": "list price"}
LIMIT = {"machine": "a100-40gb", "count": 4, "model": "gpt-oss-120b"}


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def yielded(
    requests: list[RequestRecord], goodput: GoodputLimits | None = None, concurrency: int = 1, **given: Any
) -> Economy:
    rounds = [measured("one", number) for number in dict.fromkeys(r.round for r in requests)]
    (row,) = rows_of(rounds, requests, {"load": Load("load", concurrency)}, None, 60.0)
    side = sides(rounds, requests)["one", "load"]
    return economy(row, Endpoint(base_url="http://h/v1", model="m", **given), goodput, side)


def test_goodput_counts_what_meets_all_limits_and_failures_as_missed() -> None:
    requests = [*asked_rounds("one", lambda n: 1.0 if n < 60 else 3.0, rounds=1), failed(key="x")]
    found = yielded(requests, GoodputLimits(e2e_s=2.0))
    assert (found.met, found.requests) == (3, 9)
    assert found.goodput_per_s is not None and found.goodput_per_s > 0


def test_a_single_token_has_no_tpot_to_miss() -> None:
    requests = asked_rounds("one", lambda n: 1.0, rounds=1, prompts=2, completion_tokens=1)
    assert yielded(requests, GoodputLimits(tpot_s=0.01)).met == 2
    unknown = yielded([replace(r, completion_tokens=2) for r in requests], GoodputLimits(tpot_s=0.01))
    assert unknown.met is None and "not every answer has a known tpot_s" in unknown.notes[-1]


def test_cost_and_energy_follow_from_the_systems_speed() -> None:
    found = yielded(asked_rounds("one", lambda n: n / 10), cost=COST)
    hours = found.hours_per_mtok
    assert hours is not None and found.price_per_mtok == pytest.approx(3.6 * hours)
    assert found.kwh_per_mtok == pytest.approx(hours) and found.currency == "USD"
    assert "cost: list price" in found.notes


def test_without_a_stated_cost_or_limit_nothing_is_made_up() -> None:
    found = yielded(asked_rounds("one", lambda n: 1.0))
    figures = (found.goodput_per_s, found.price_per_mtok, found.kwh_per_mtok, found.hours_per_mtok)
    assert set(figures) == {None} and found.limit_tok_per_s is None and found.notes == ()


def test_the_bound_is_for_one_request_in_flight() -> None:
    requests = asked_rounds("one", lambda n: 1 + n / 100)
    alone, busy = yielded(requests, limit=LIMIT), yielded(requests, concurrency=4, limit=LIMIT)
    assert alone.limit_tok_per_s is not None and alone.decode_tok_per_s == pytest.approx(100, rel=0.01)
    assert busy.limit_tok_per_s is None and not busy.limit_withheld


def test_the_bound_is_withheld_where_the_server_speculates() -> None:
    found = yielded(asked_rounds("one", lambda n: 1 + n / 100, server_timings={"draft_n": 4}), limit=LIMIT)
    assert found.limit_tok_per_s is None and found.limit_withheld and "withheld" in found.notes[0]
