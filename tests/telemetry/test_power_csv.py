"""Power that others recorded: what a file may say, and what it does not say."""

from pathlib import Path

import pytest

from accelbench.errors import UserError
from accelbench.store.records import EnergyFacts, Surroundings
from accelbench.telemetry.energy import of_one_scope, read_power
from accelbench.telemetry.summary import with_power

BEGIN = 1_795_000_000


def written(folder: Path, *lines: str) -> str:
    path = folder / "pdu.csv"
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def every_30_s(watts: float, count: int) -> list[str]:
    return [f"{BEGIN + 30 * n},{watts}" for n in range(count)]


def test_a_span_between_readings_is_integrated_over_times_in_any_order_and_notation(tmp_path: Path) -> None:
    lines = ["time,watts", "1970-01-01T00:02:00+00:00,300", "1970-01-01T01:01:00+01:00,100", "0,100", "90,"]
    power = read_power(written(tmp_path, *lines), "rack")
    assert power
    found = power.energy([(30, 120)])
    assert (found["scope"], found["joules"], found["wall_s"], found["why"]) == ("rack", 100 * 30 + 200 * 60, 90.0, None)


def test_several_spans_add_up(tmp_path: Path) -> None:
    power = read_power(written(tmp_path, *every_30_s(200, 20)), "node")
    assert power and power.energy([(BEGIN, BEGIN + 60), (BEGIN + 120, BEGIN + 210)])["joules"] == 200 * 150


@pytest.mark.parametrize(
    ("lines", "span", "why"),
    [
        (every_30_s(200, 3), (BEGIN - 1, BEGIN + 60), "not read over the whole span"),
        (every_30_s(200, 3), (BEGIN, BEGIN + 61), "not read over the whole span"),
        ([f"{BEGIN},200", f"{BEGIN + 200},200"], (BEGIN + 10, BEGIN + 190), "not read for 200 s"),
        (every_30_s(200, 3), (BEGIN + 31, BEGIN + 41), "too few readings in 10 s (0)"),
        (["time,watts"], (BEGIN, BEGIN + 60), "not there yet"),
    ],
)
def test_what_the_file_does_not_cover_is_unknown_with_a_reason(
    tmp_path: Path, lines: list[str], span: tuple[float, float], why: str
) -> None:
    power = read_power(written(tmp_path, *lines), "node")
    assert power
    found = power.energy([span])
    assert found["joules"] is None
    assert found["why"] and why in found["why"]


def test_a_file_that_comes_later_makes_the_energy_unknown_until_then(tmp_path: Path) -> None:
    power = read_power(str(tmp_path / "later.csv"), "node")
    assert power and power.energy([(0, 9)])["why"] == f"{tmp_path / 'later.csv'} is not there yet"
    assert power.energy([])["joules"] is None
    assert read_power(None, "node") is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("2026-11-28T08:00:00,100", "line 2: 2026-11-28T08:00:00 has no time zone"),
        ("1795000000000,100", "line 2: 1795000000000 is not a Unix time in seconds"),
        ("noon,100", "line 2: 'noon' is neither an ISO time nor a Unix time in seconds"),
        ("1795000000,lots", "line 2: 'lots' is not a power in watts"),
        ("1795000000,-3", "line 2: '-3' is not a power in watts"),
        ("1795000000", "line 2: must have a time and watts"),
        ("5,100", "line 2: 5 has two readings"),
    ],
)
def test_a_line_that_is_no_reading_is_named(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_power(written(tmp_path, "5,90", line), "node")


def test_an_imported_power_counts_instead_of_the_cards_even_where_it_is_unknown(tmp_path: Path) -> None:
    power = read_power(written(tmp_path, *every_30_s(700, 5)), "node")
    assert power
    card = EnergyFacts(scope="GPU 0", read="x", joules=7.0, wall_s=60, idle_before_w=None, idle_after_w=None, why=None)
    seen = Surroundings(energy=[card])
    assert with_power(seen, None, []) is seen
    whole, later = (with_power(seen, power, [(BEGIN, BEGIN + end_s)]) for end_s in (60, 600))
    assert whole and later
    chosen, unknown = of_one_scope(whole["energy"]), of_one_scope(later["energy"])
    assert chosen and unknown
    assert (chosen.scope, chosen.joules) == ("node (power_csv)", 42_000)
    assert (unknown.scope, unknown.joules) == ("node (power_csv)", None)
