"""Energy per token, request and correct answer: quotients of sums over rounds, and how sure they are."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from accelbench.analysis import energy
from accelbench.analysis.energy import compared_energy, energy_per
from accelbench.analysis.metrics import METRICS
from accelbench.analysis.sample import Side, interleaving, sides_of
from accelbench.store.records import EnergyFacts, InferRoundRecord, Surroundings
from accelbench.store.requests import Requests

from .records import request


def side(joules: dict[int, float], name: str = "a", scope: str = "1 GPU", **fields: Any) -> Side:
    """Return a side of four requests of ten tokens in each of six rounds."""
    asked = [
        request(endpoint=name, cell="c", round=number, key=f"q{number}-{n}", sent_unix_s=100.0 * number + n, **fields)
        for number in range(1, 7)
        for n in range(4)
    ]
    asked = [replace(each, completion_tokens=10) for each in asked]
    hosts = dict.fromkeys(range(1, 7), "h")
    return Side(name, "c", Requests.of(asked), hosts, energy_j=joules, energy_scope=scope)


def rounds(*joules: float) -> dict[int, float]:
    return dict(enumerate(joules, 1))


def test_it_is_the_energy_of_all_rounds_over_all_that_they_delivered() -> None:
    found = energy_per(energy.tokens_answered)(side(rounds(38, 40, 42, 39, 41, 40)))
    assert found and found.value == pytest.approx(1.0) and found.n == 6
    assert found.low is not None and found.high is not None and 0.95 < found.low < 1 < found.high < 1.05
    answered = energy_per(energy.answers)(side(rounds(38, 40, 42, 39, 41, 40)))
    assert answered and answered.value == pytest.approx(10.0)


def test_rounds_without_a_reading_are_left_out_and_two_give_no_interval() -> None:
    found = energy_per(energy.tokens_answered)(side({2: 30.0, 5: 50.0}))
    assert found and found.value == pytest.approx(1.0) and (found.low, found.n) == (None, 2)
    assert found.why_no_interval == "2 rounds: an interval needs at least 3"
    assert energy_per(energy.tokens_answered)(side({})) is None


def test_a_right_answer_has_a_price_which_is_unbounded_when_there_was_none() -> None:
    joules = rounds(*[40.0] * 6)
    right, wrong = (energy_per(energy.correct_answers)(side(joules, contains_gold=held)) for held in (True, False))
    assert right and right.value == pytest.approx(10.0)
    assert wrong and wrong.value == math.inf and wrong.why_no_interval == "unbounded: there was none"
    assert energy_per(energy.correct_answers)(side(joules, contains_gold=None)) is None


def test_two_sides_are_compared_round_by_round_where_their_energy_is_of_the_same_scope() -> None:
    ours, theirs = side(rounds(50, 60, 70, 80, 90, 55)), side(rounds(25, 30, 35, 40, 45, 27.5), name="b")
    compare = compared_energy(energy.tokens_answered)
    met = interleaving(ours, theirs, 60.0)
    found = compare(ours, theirs, met)
    assert met.interleaved and found and found.value == pytest.approx(2.0) and found.interval() is not None
    assert compare(ours, replace(theirs, energy_scope="2 CPU packages"), met) is None


def test_the_interval_holds_the_true_quotient() -> None:
    drawn, held = np.random.default_rng(5), 0
    compute = energy_per(energy.answers)
    sample = side({})
    for _ in range(2000):
        joules = rounds(*drawn.gamma(50.0, 40.0 / 50.0, 6))
        found = compute(replace(sample, energy_j=joules))
        assert found and found.low is not None and found.high is not None
        held += found.low <= 10.0 <= found.high
    assert held / 2000 >= 0.93


def of(scope: str, joules: float | None) -> EnergyFacts:
    return EnergyFacts(scope=scope, read="x", joules=joules, wall_s=1, idle_before_w=None, idle_after_w=None, why=None)


def test_cards_are_added_up_and_packages_count_only_without_cards() -> None:
    seen = [
        [of("GPU 0", 5.0), of("GPU 1", 6.0), of("CPU package 0", 50.0)],
        [of("GPU 0", 5.0), of("GPU 1", None)],
        [of("CPU package 0", 50.0)],
        [],
    ]
    planned = [
        InferRoundRecord("a", "c", n, "measured", None, surroundings=Surroundings(energy=parts))
        for n, parts in enumerate(seen, 1)
    ]
    (found,) = sides_of(planned, side({}).recorded, {}).values()
    assert (found.energy_scope, found.energy_j) == ("2 GPUs", {1: 11.0})
    (only,) = sides_of(planned[2:], side({}).recorded, {}).values()
    assert (only.energy_scope, only.energy_j) == ("1 CPU package", {3: 50.0})


def test_what_is_not_known_of_a_round_idle_power_and_peak_memory_are_told_of_the_side() -> None:
    parts = [
        EnergyFacts(
            scope="rack", read="power_csv", joules=joules, wall_s=1, idle_before_w=watts, idle_after_w=None, why=why
        )
        for joules, watts, why in ((5.0, 40.0, None), (None, 60.0, "pdu.csv: it was not read for 200 s"))
    ]
    planned = [
        InferRoundRecord(
            "a", "c", n, "measured", None, surroundings=Surroundings(energy=[each], gpu_peak_bytes=n << 30)
        )
        for n, each in enumerate(parts, 1)
    ]
    (found,) = sides_of(planned, side({}).recorded, {}).values()
    assert (found.energy_scope, found.energy_j) == ("rack (power_csv)", {1: 5.0})
    assert found.energy_why == "unknown in 1 of 2 rounds (pdu.csv: it was not read for 200 s)"
    assert (found.idle_w, found.peak_gib) == ((50.0, None), (None, 2.0))


def test_the_metrics_are_registered() -> None:
    assert {"energy_per_token", "energy_per_request", "energy_per_correct_answer"} <= METRICS.keys()
