"""The headline figures of reports, and where they changed."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from accelbench.analysis.disturbance import MOST_TAKEN
from accelbench.analysis.history import (
    HistoryEntry,
    HistoryFigure,
    HistoryRow,
    Trend,
    headlines,
    identity_of,
    trends_of,
)
from accelbench.analysis.load import Load
from accelbench.analysis.pairs import judge_all, pairs_of
from accelbench.analysis.sample import sides_of
from accelbench.analysis.training import training_rows
from accelbench.plan import specs
from accelbench.store.records import InferRoundRecord, ParsedLog, TrainRunRecord
from accelbench.store.requests import Requests

from .records import asked_rounds, measured, rows_of

SE, DF = 0.01, 5.0


def row_of(day: int, value: float, **given: Any) -> HistoryRow:
    """Return an endpoint's row of one day, with its typical latency."""
    own = {"scale": "ratio", "unit": "s", "label": "E2E latency", "se": SE, "df": DF, "disturbed": False}
    own |= {name: given.pop(name) for name in [*own, "metric"] if name in given}
    figure = HistoryFigure(
        **{"metric": "e2e_s", "value": value, "low": value * 0.97, "high": value * 1.03, "n": 60, **own}
    )
    return HistoryRow(
        **{
            "half": "inference",
            "name": "one",
            "load": "load",
            "measured_at": f"2026-11-{day:02}T06:00:00+00:00",
            "measurements": [f"day {day}"],
            "spec": "s",
            "rounds": 6,
            "rounds_disturbed": 0,
            "figures": [figure],
            "settings": {"endpoint.model": "m"},
            "software": {"xllamacpp": "0.3.1"},
            "host": {"name": "box"},
            **given,
        }
    )


def entry_of(*rows: HistoryRow) -> HistoryEntry:
    at = max(row.measured_at for row in rows)
    return HistoryEntry(identity=identity_of(rows), reported_at=at, title="t", accelbench="1", rows=list(rows))


def days(values: Sequence[float], **given: Any) -> list[HistoryEntry]:
    """Return a report a day; what is given as a list is of each day."""
    each = [{k: v[n] if isinstance(v, list) else v for k, v in given.items()} for n in range(len(values))]
    return [entry_of(row_of(n + 1, value, **own)) for n, (value, own) in enumerate(zip(values, each, strict=True))]


def around(middles: Sequence[float], sd: float = SE) -> list[float]:
    return (np.array(middles) * np.exp(np.random.default_rng(3).normal(0, sd, len(middles)))).tolist()


def trend(entries: Sequence[HistoryEntry]) -> Trend:
    (found,) = trends_of(entries)
    return found


def reports(found: Trend) -> list[int]:
    return [stretch.reports for stretch in found.stretches]


def test_a_share_stays_between_0_and_100() -> None:
    (stretch,) = trend(days([100.0, 99.0], scale="difference", unit="%", se=4.0)).stretches
    assert stretch.estimate.high == 100 and stretch.estimate.low and stretch.estimate.low < 98


def test_a_change_has_an_interval_that_holds_it() -> None:
    change = trend(days(around([1.0] * 10 + [1.2] * 10))).changes[0].change
    assert change and change.low and change.high
    assert 1.15 < change.low < 1.2 < change.high < 1.25


def test_disturbed_figures_are_kept_and_change_nothing() -> None:
    busy = [n == 5 for n in range(10)]
    values = around([5.0 if is_busy else 1.0 for is_busy in busy])
    found = trend(days(values, disturbed=busy))
    assert reports(found) == [9] and len(found.points) == 10


def test_more_figures_demand_more_of_each() -> None:
    alone = days([1.0, 1.05])
    assert reports(trend(alone)) == [1, 1]
    among = [
        entry_of(*entry.rows, *(row_of(n + 1, 1.0, load=f"load {k}") for k in range(30)))
        for n, entry in enumerate(alone)
    ]
    assert all(len(found.stretches) == 1 for found in trends_of(among))


def test_what_changed_at_that_moment_is_named() -> None:
    software = [{"xllamacpp": "0.3.1"}] * 10 + [{"xllamacpp": "0.3.2"}] * 10
    (change,) = trend(days(around([1.0] * 10 + [1.2] * 10), software=software)).changes
    assert (change.causes, change.same_host) == (["xllamacpp 0.3.1 → 0.3.2"], True)


def test_another_version_of_accelbench_is_a_cause_too() -> None:
    before, after = days([1.0, 1.2])
    (change,) = trend([before, after.model_copy(update={"accelbench": "2"})]).changes
    assert change.causes == ["accelbench 1 → 2"]


def test_where_nothing_recorded_changed_no_cause_is_named_and_another_host_is_one() -> None:
    values = around([1.0] * 10 + [1.2] * 10)
    assert trend(days(values)).changes[0].causes == []
    hosts = [{"name": "box"}] * 10 + [{"name": "other"}] * 10
    (change,) = trend(days(values, host=hosts)).changes
    assert (change.causes, change.same_host) == (["host: name box → other"], False)


def test_reports_that_share_a_measurement_are_one_point_the_newest() -> None:
    entries = days([1.0, 1.1, 1.2], measurements=[["a"], ["a", "b"], ["c"]])
    assert [figure.value for _, figure in trend(entries).points] == [1.1, 1.2]


# --- of a report -----------------------------------------------------------------------------------------------


def records(endpoint: str, *, busy: Sequence[int] = ()) -> list[InferRoundRecord]:
    facts = {"server": "llama.cpp", "xllamacpp": "0.3.1", "base_url": "http://127.0.0.1:41541/v1", "start_up_s": 2.0}
    return [
        replace(
            measured(endpoint, number),
            measured_at=f"2026-11-28T10:0{number}:00+00:00",
            facts=facts,
            host_activity={"share_of_others": 2 * MOST_TAKEN} if number in busy else None,
        )
        for number in range(1, 6)
    ]


def reported(*, busy: Sequence[int] = (), runs: Sequence[TrainRunRecord] = ()) -> dict[tuple[str, str], HistoryRow]:
    rounds = [*records("a", busy=busy), *records("b")]
    requests = [r for name in "ab" for r in asked_rounds(name, lambda n: 1 + n / 97 % 0.1)]
    loads = {"load": Load("load", 1)}
    sides = sides_of(rounds, Requests.of(requests), loads)
    rows = rows_of(rounds, requests, loads, "a", 60.0)
    judged = judge_all(pairs_of(rounds, sides, "a", 60.0))
    planned = {record.name: specs.canonical({"round": record.round, "endpoint": {"model": "m"}}) for record in rounds}
    found = headlines(runs, rounds, training_rows(runs), rows, sides, judged, planned)
    return {(row.name, row.load): row for row in found}


def test_a_report_has_a_row_per_endpoint_and_pair_with_intervals() -> None:
    found = reported()
    assert list(found) == [("a", "load"), ("b", "load"), ("b ÷ a", "load")]
    figures = {figure.metric: figure for figure in found["a", "load"].figures}
    assert {"e2e_s", "success"} <= figures.keys()
    e2e = figures["e2e_s"]
    assert e2e.low and e2e.high and e2e.low < e2e.value < e2e.high and e2e.se and e2e.df and e2e.n == 40
    assert (figures["success"].value, figures["success"].unit) == (100, "%")
    (ratio,) = (figure for figure in found["b ÷ a", "load"].figures if figure.metric == "e2e_s")
    assert (ratio.unit, ratio.value) == ("ratio", pytest.approx(1.0))


def test_a_row_says_what_it_was_measured_with_and_leaves_out_what_varies() -> None:
    row = reported()["a", "load"]
    assert row.software == {"server": "llama.cpp", "xllamacpp": "0.3.1"}
    assert row.settings == {"endpoint.model": "m", "rounds": "5"}
    assert row.host == {"name": "box"}
    assert (row.measured_at, row.rounds) == ("2026-11-28T10:05:00+00:00", 5)


def test_only_where_no_round_was_quiet_is_a_figure_disturbed() -> None:
    some, every = (reported(busy=busy)["a", "load"] for busy in ([2], [1, 2, 3, 4, 5]))
    assert (some.rounds_disturbed, every.rounds_disturbed) == (1, 5)
    assert not any(figure.disturbed for figure in some.figures)
    assert {f.metric for f in every.figures if not f.disturbed} == {"success", "contains_gold"}


def test_the_rate_of_a_batch_size_has_an_interval_from_three_runs_on() -> None:
    rates = {4: (10.0, 10.2, 10.1), 8: (20.0, 20.1)}
    runs = [
        TrainRunRecord(
            "cpu", size, n, "measured", None, measured_at="2026-11-28T10:00:00+00:00",
            log=ParsedLog(steady_rate_samples_per_s=rate), trainer={"versions": {"torch": "2.13.0"}},
        )
        for size, own in rates.items()
        for n, rate in enumerate(own, 1)
    ]  # fmt: skip
    found = reported(runs=runs)
    (three,), (two,) = found["cpu", "bs4"].figures, found["cpu", "bs8"].figures
    assert three.value == pytest.approx(10.1, rel=1e-3) and three.low and three.low < 10.1
    assert two.value == pytest.approx(20.05, rel=1e-3) and two.low is None and two.se is None
    assert found["cpu", "bs4"].software == {"torch": "2.13.0"}


def test_the_identity_is_that_of_the_measurements_alone() -> None:
    one, other = row_of(1, 1.0), row_of(1, 1.1, software={"xllamacpp": "9"})
    assert identity_of([one]) == identity_of([other, one]) != identity_of([row_of(2, 1.0)])
