"""Energy of constructed signals: counters that wrap, samples of power, gaps, spans that were not covered."""

import math
from collections.abc import Callable

import pytest

from accelbench.telemetry.energy import curve_of, energies, spent_j
from accelbench.telemetry.recorder import Reading, Session

WRAPS_J = 262143.0


def signal(shown: Callable[[float], float], key: str, times: list[float]) -> list[Reading]:
    return [Reading(at_s, {f"0.{key}": shown(at_s)}) for at_s in times]


def every(step_s: float, until_s: float) -> list[float]:
    return [n * step_s for n in range(int(until_s / step_s) + 1)]


def test_a_constant_power_is_watts_times_seconds() -> None:
    curve = curve_of(signal(lambda _: 80.0, "power_w", every(0.5, 20)), "0")
    assert spent_j(curve, 3.2, 13.2) == (pytest.approx(800.0), None)


def test_a_changing_power_is_integrated_by_trapezoids() -> None:
    curve = curve_of(signal(lambda t: 100 + 50 * math.sin(t), "power_w", every(0.5, 60)), "0")
    true_j = 100 * 40 + 50 * (math.cos(10) - math.cos(50))
    assert spent_j(curve, 10, 50)[0] == pytest.approx(true_j, rel=2e-3)


def test_a_counter_is_taken_between_the_readings_around_the_span() -> None:
    curve = curve_of(signal(lambda t: 1e6 + 30 * t, "energy_j", every(0.5, 20)), "0")
    assert spent_j(curve, 2.25, 12.75)[0] == pytest.approx(315.0)


def test_a_counter_that_wraps_goes_on_and_one_without_a_range_was_set_back() -> None:
    shown = signal(lambda t: (WRAPS_J - 100 + 50 * t) % WRAPS_J, "energy_j", every(1, 10))
    assert spent_j(curve_of(shown, "0", WRAPS_J), 0, 10)[0] == pytest.approx(500.0)
    back = signal(lambda t: 1000 + 50 * t if t < 5 else 50 * (t - 5), "energy_j", every(1, 10))
    assert spent_j(curve_of(back, "0"), 0, 10)[0] == pytest.approx(450.0)


@pytest.mark.parametrize(
    ("times", "why"),
    [
        ([*every(0.5, 5), *(20 + t for t in every(0.5, 10))], "not read for 16 s"),
        (every(0.5, 5), "not read over the whole span"),
        ([0.0], "not read over the whole span"),
        ([], "not read over the whole span"),
    ],
)
def test_what_was_not_read_is_not_made_up(times: list[float], why: str) -> None:
    times = [t + 0.5 if t > 19 else t for t in times]
    joules, said = spent_j(curve_of(signal(lambda _: 80.0, "power_w", times), "0"), 0.0, 25.0)
    assert joules is None and said is not None and why in said


def test_idle_power_is_that_of_both_ends_of_the_session() -> None:
    shown = signal(lambda t: 20.0 if t < 2 or t > 18 else 120.0, "power_w", every(0.5, 20))
    session = Session({"gpu": {"scopes": {"0": {"scope": "GPU 0", "read": "samples of its power"}}}}, {"gpu": shown})
    (found,) = energies(session, 4.0, 16.0)
    assert found["joules"] == pytest.approx(1440.0) and found["wall_s"] == 12.0
    assert found["idle_before_w"] == pytest.approx(20.0, abs=15) and found["idle_after_w"] == pytest.approx(20, abs=15)
    assert (found["scope"], found["read"], found["why"]) == ("GPU 0", "samples of its power", None)
