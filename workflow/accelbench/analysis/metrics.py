"""The metrics: every figure of an endpoint under a load, with how it is found, compared, named and shown.

Rows, CSV columns, JSON, tables, the page and verdicts read `METRICS`; nothing else lists metrics.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from operator import attrgetter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from accelbench.analysis import energy
from accelbench.analysis.intervals import (
    Array,
    Comparison,
    Description,
    Estimate,
    Influence,
    Observations,
    Proportion,
    Scale,
    compare_paired,
    compare_unpaired,
    contrast_of,
    describe,
    distinct,
    geometric_mean,
    proportion,
    too_few,
)
from accelbench.analysis.load import from_schedule_s
from accelbench.analysis.percentiles import PERCENTS, Percentiles, Tail, Times, gaps, percentiles, tail, times
from accelbench.analysis.sample import Interleaving, Side
from accelbench.config.inference import MOST_TURNS
from accelbench.store.requests import Column

Figure = float | Description | Estimate | Proportion | Tail | Times | Percentiles
Place = Literal["comparison", "details", "overview", "essential"]
"""The table of a load, the one below it, the page's table of all loads, what `compare` prints without --full."""
Compare = Callable[[Side, Side, Interleaving], Comparison | None]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a table: what it is called, the statistic that it shows, and in which tables it stands.

    Without a statistic it shows the figure as a whole: with its interval, its range over rounds, or its percentiles.
    """

    label: str
    statistic: str = ""
    places: Sequence[Place] = ("comparison",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure of an endpoint under a load."""

    key: str
    """Its name in rows and JSON, and what its columns in inference.csv begin with."""
    value: Callable[[Side], Figure | None]
    label: str = ""
    """Its name in verdicts and in what `load` prints."""
    unit: Literal["", "ms", "%", "requests"] = ""
    """How tables show it. Figures themselves are in seconds, shares between 0 and 1."""
    lines: Sequence[Line] = ()
    columns: Sequence[str] = ()
    """The statistics that inference.csv has a column for; an empty name is the figure itself."""
    compare: Compare | None = None
    """Two endpoints compared; the ratio stands beside the first line."""
    ratio_column: bool = False
    """Whether inference.csv holds the ratio to the baseline."""
    tested_as: str | None = None
    """Its name among the verdicts and in `inference.primary`; None: there is no verdict on it."""
    in_load: str | None = None
    """Its name in what `load` prints; None: it isn't there."""
    of_all_rounds: bool = False
    """Whether a busy host leaves it as it is: scores, failures and token counts."""
    same_as: str | None = None
    """The metric that it repeats where no answer held reasoning; tables then leave it out."""

    def csv_columns(self) -> list[str]:
        """Return the names of its columns in inference.csv."""
        return [_column(self.key, statistic) for statistic in self.columns]

    def cells(self, figure: Figure | None) -> dict[str, Any]:
        """Return what stands in these columns."""
        if figure is None:
            return {}
        return {_column(self.key, name): attrgetter(name)(figure) if name else figure for name in self.columns}


def _column(key: str, statistic: str) -> str:
    return "_".join(filter(None, [key, statistic.replace(".", "_")]))


def figures(side: Side) -> dict[str, Figure]:
    """Return all figures of a side that there are, by metric: times and speeds are of its quiet rounds, if any."""
    found = {key: metric.value(side if metric.of_all_rounds else side.quiet) for key, metric in METRICS.items()}
    return {key: figure for key, figure in found.items() if figure is not None and getattr(figure, "n", None) != 0}


def as_json(figure: Figure | None) -> Any:
    """Return a figure as JSON has it."""
    return asdict(figure) if is_dataclass(figure) else figure


# --- how metrics are found and compared ---------------------------------------------------------------------


def times_of(field: str) -> Callable[[Side], Times]:
    """Describe a time of the requests that came whole."""
    return lambda side: times(side.whole.seconds(field))


def typical_of(field: str) -> Callable[[Side], Estimate | None]:
    """Estimate the geometric mean of a request's field."""
    return lambda side: geometric_mean(side.observations(field))


def percentiles_of(field: str) -> Callable[[Side], Percentiles | None]:
    """Estimate the percentiles of a time."""
    return lambda side: percentiles(side.observations(field))


def of_all(field: str) -> Callable[[Side], Tail | None]:
    """Find the percentiles with failures as infinite; None without failures, or where a whole answer lacks the time."""

    def value(side: Side) -> Tail | None:
        known = side.whole.seconds(field)
        return None if np.isnan(known).any() or not side.failures else tail(known, failures=side.failures)

    return value


def from_schedule(field: str) -> Callable[[Side], Times | None]:
    """Describe a time counted from the moment that a request was due; None in closed loop."""

    def value(side: Side) -> Times | None:
        due = bool((side.requests["scheduled_unix_s"] > 0).any())
        return times(from_schedule_s(side.whole, side.whole.seconds(field))) if due else None

    return value


def share_of(field: str) -> Callable[[Side], Proportion | None]:
    """Estimate the share of successes, or the mean of a score."""
    return lambda side: proportion(side.observations(field))


def score_of(field: str) -> Callable[[Side], float | None]:
    """Average a score over all answers that have one, an empty answer counting as wrong."""
    return lambda side: _mean(side.requests[field])


def tokens_of(field: str) -> Callable[[Side], float | None]:
    """Average a token count over the successes; None where one of them lacks it."""
    return lambda side: _mean(side.tokens(field))


def speed_of(field: str) -> Callable[[Side], float | None]:
    """Divide the tokens of all successes by their latencies: the speed that one request sees."""
    return lambda side: side.tok_per_s(field)


def per_s(kind: str) -> Callable[[Side], Description | None]:
    """Describe a speed of the endpoint as a whole over rounds."""
    return lambda side: describe(side.speeds.get(kind, {}).values())


def typical_where(field: str, column: str, value: float) -> Callable[[Side], Estimate | None]:
    """Estimate the geometric mean of a time of the successes that have a value in a column."""
    return lambda side: geometric_mean(_where(side.values(field), column, value, side))


def cached_where(column: str, value: float) -> Callable[[Side], Proportion | None]:
    """Estimate the share of a prompt's tokens that were cached, by usage, of such successes."""

    def share(side: Side) -> Proportion | None:
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = np.minimum(side.requests["cached_tokens"] / side.requests["prompt_tokens"], 1.0)
        return proportion(_where(shares, column, value, side))

    return share


def prefix_effect(side: Side) -> Estimate | None:
    """Compare TTFT with a reused prefix to that with a new one."""
    reused, new = (_where(side.values("ttft_s"), "prefix_reused", value, side) for value in (1, 0))
    found = compare_unpaired(reused, new, "ratio")
    return found.estimate() if found else None


def _where(values: Column, column: str, value: float, side: Side) -> Observations:
    chosen = side.requests["is_success"] & (side.requests[column] == value)
    return side.observed(np.where(chosen, values, np.nan))


def _mean(values: Column) -> float | None:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else None


def compared(field: str, scale: Scale = "ratio") -> Compare:
    """Compare a field request by request: the typical ratio, or the mean difference."""

    def compare(ours: Side, theirs: Side, met: Interleaving) -> Comparison | None:
        one, other = ours.values(field), theirs.values(field)
        there = ~np.isnan(one), ~np.isnan(other)
        if met.interleaved:
            pairs = met.both(*there)
            return compare_paired(ours.observed(one, met.ours[pairs]), theirs.observed(other, met.theirs[pairs]), scale)
        kept = _answered(met, *there)
        return compare_unpaired(ours.observed(one, kept[0]), theirs.observed(other, kept[1]), scale)

    return compare


def compared_means(over: str, under: str | None = None, *, of: str = "good") -> Compare:
    """Compare two means, or two quotients of sums (tokens over seconds), as a ratio.

    `of`: the requests of a side that count, all successes or all that came whole. None where one of them lacks the
    figure.
    """
    names = (over,) if under is None else (over, under)
    signs = [1, -1][: len(names)]

    def compare(ours: Side, theirs: Side, met: Interleaving) -> Comparison | None:
        counting = [own.requests["is_success" if of == "good" else "is_timed"] for own in (ours, theirs)]
        one, other = (np.column_stack([own.requests[name] for name in names]) for own in (ours, theirs))
        if any(np.isnan(parts[counts, 0]).any() for parts, counts in zip((one, other), counting, strict=True)):
            return None
        there = [~np.isnan(own).any(axis=1) & counts for own, counts in zip((one, other), counting, strict=True)]
        if met.interleaved:
            pairs = met.both(*there)
            parts = np.hstack([one[met.ours[pairs]], other[met.theirs[pairs]]])
            paired = _influence(parts, [*signs, *(-sign for sign in signs)], ours, met.ours[pairs])
            return contrast_of("ratio", paired) if paired else None
        kept = _answered(met, *there)
        mine, base = (
            _influence(parts[chosen], signs, own, chosen)
            for parts, own, chosen in zip((one, other), (ours, theirs), kept, strict=True)
        )
        return contrast_of("ratio", mine, base) if mine and base else None

    return compare


def compared_rounds(kind: str) -> Compare:
    """Compare a speed of the endpoint as a whole round by round, of the same rounds where sides were interleaved."""

    def compare(ours: Side, theirs: Side, met: Interleaving) -> Comparison | None:
        passages = min(distinct(own.whole["text_number"]) for own in (ours, theirs))
        speeds = [own.speeds.get(kind, {}) for own in (ours, theirs)]
        return over_rounds(speeds[0], speeds[1], passages, paired=met.interleaved)

    return compare


def over_rounds(
    ours: Mapping[int, float], theirs: Mapping[int, float], passages: int, *, paired: bool
) -> Comparison | None:
    """Compare typical rounds, of the same ones where they are `paired`; None without any."""
    both = [number for number in ours if ours[number] and theirs.get(number)]
    one, other = (np.log([per_s for per_s in own.values() if per_s]) for own in (ours, theirs))
    if paired:
        one, other = (np.log([own[number] for number in both]) for own in (ours, theirs))
    if not len(one) or not len(other):
        return None
    why = too_few(passages, min(len(one), len(other)))
    if paired:
        return contrast_of("ratio", Influence.of_runs(one - other), why=why)
    return contrast_of("ratio", Influence.of_runs(one), Influence.of_runs(other), why=why)


def _influence(parts: Array, signs: Sequence[int], side: Side, chosen: NDArray[Any]) -> Influence | None:
    if not len(parts) or not (parts.mean(axis=0) > 0).all():
        return None
    return Influence.of_means(parts, signs, side.requests["text_number"][chosen], side.requests["round"][chosen])


def _answered(met: Interleaving, ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Return which answers count: not those to prompts that both were asked, and not both answered."""
    lost = ~met.both(ours, theirs)
    kept = [ours.copy(), theirs.copy()]
    for own, places in zip(kept, (met.ours, met.theirs), strict=True):
        own[places[lost]] = False
    return kept


# --- the registry -------------------------------------------------------------------------------------------


def _registry() -> Iterator[Metric]:
    yield Metric(
        key="latency",
        label="E2E",
        value=times_of("e2e_s"),
        lines=[
            Line("mean latency (s)", "mean", ["comparison", "essential"]),
            Line("median latency (s)", "median", ["comparison", "overview", "essential"]),
            Line("min latency (s)", "min"),
            Line("max latency (s)", "max"),
        ],
        columns=["n", "mean", "median", "min", "max"],
        compare=compared_means("e2e_s", of="whole"),
        ratio_column=True,
        in_load="e2e_s",
    )
    yield Metric(
        key="typical_latency",
        label="E2E latency",
        value=typical_of("e2e_s"),
        lines=[Line("typical latency (s), 95 % interval", "", ["comparison", "overview"])],
        columns=["value", "low", "high", "why_no_interval"],
        compare=compared("e2e_s"),
        ratio_column=True,
        tested_as="e2e_s",
    )
    yield Metric(
        key="ttft",
        label="TTFT",
        value=times_of("ttft_s"),
        lines=[Line("TTFT, median (s)", "median", ["comparison", "overview", "essential"])],
        columns=["median"],
        compare=compared("ttft_s"),
        ratio_column=True,
        tested_as="ttft_s",
        in_load="ttft_s",
    )
    yield Metric(
        key="ttfat",
        label="TTFAT",
        value=times_of("ttfat_s"),
        lines=[Line("TTFAT, median (s)", "median")],
        columns=["median"],
        compare=compared("ttfat_s"),
        in_load="ttfat_s",
        same_as="ttft",
    )
    yield Metric(
        key="tpot",
        label="TPOT",
        unit="ms",
        value=times_of("tpot_s"),
        lines=[Line("TPOT, median (ms)", "median", ["comparison", "overview", "essential"])],
        columns=["median"],
        compare=compared("tpot_s"),
        ratio_column=True,
        tested_as="tpot_s",
        in_load="tpot_s",
    )
    yield Metric(
        key="itl",
        label="ITL",
        unit="ms",
        value=lambda side: gaps(side.whole),
        lines=[
            Line("ITL, median (ms)", "median"),
            Line("ITL p50, p90, p95, p99, max (ms), of all gaps", "", ["details"]),
        ],
        columns=["median", "p99"],
        in_load="itl_s",
    )
    kinds = {"total": "total_tokens", "output": "completion_tokens", "answer": "answer_tokens"}
    for kind, field in kinds.items():
        yield Metric(
            key=f"{kind}_tok_per_s",
            value=speed_of(field),
            lines=[
                Line(
                    f"throughput per request ({kind} tok/s)",
                    places=["comparison", "overview", "essential"] if kind == "output" else ("comparison",),
                )
            ],
            columns=[""],
            compare=compared_means(field, "e2e_s"),
            ratio_column=kind == "output",
            same_as="output_tok_per_s" if kind == "answer" else None,
        )
    for kind, field in kinds.items():
        yield Metric(
            key=f"system_{kind}_tok_per_s",
            label=f"{kind} tok/s",
            value=per_s(field),
            lines=[
                Line(
                    f"system throughput ({kind} tok/s), over rounds",
                    places=["comparison", "overview", "essential"] if kind == "output" else ("comparison",),
                )
            ],
            columns=["mean"],
            compare=compared_rounds(field),
            ratio_column=kind == "output",
            in_load=f"{kind}_tok_per_s",
            same_as="system_output_tok_per_s" if kind == "answer" else None,
        )
    yield Metric(
        key="requests_per_s",
        label="requests/s",
        value=per_s("requests"),
        lines=[Line("requests per s, over rounds", "", ["comparison", "essential"])],
        columns=["mean"],
        compare=compared_rounds("requests"),
        in_load="requests_per_s",
    )
    yield Metric(
        key="completion_tokens",
        value=tokens_of("completion_tokens"),
        of_all_rounds=True,
        lines=[Line("response length (output tokens)", "", ["comparison", "overview", "essential"])],
        columns=[""],
        compare=compared_means("completion_tokens"),
    )
    yield Metric(
        key="prompt_tokens",
        value=tokens_of("prompt_tokens"),
        of_all_rounds=True,
        lines=[Line("prompt length (tokens)")],
        columns=[""],
    )
    yield Metric(
        key="success_rate",
        label="success",
        unit="requests",
        value=share_of("success"),
        of_all_rounds=True,
        lines=[Line("success", "", ["comparison", "overview", "essential"])],
        columns=["low", "high"],
        compare=compared("success", "difference"),
        tested_as="success",
    )
    yield Metric(
        key="exact_match_share",
        unit="%",
        value=share_of("exact_match"),
        of_all_rounds=True,
        lines=[Line("exact match", "", ["comparison", "essential"])],
        columns=["low", "high"],
    )
    yield Metric(
        key="contains_share",
        label="contains the gold answer",
        unit="%",
        value=share_of("contains_gold"),
        of_all_rounds=True,
        lines=[Line("contains the gold answer", "", ["comparison", "overview"])],
        columns=["low", "high"],
        compare=compared("contains_gold", "difference"),
        tested_as="contains_gold",
    )
    yield Metric(
        key="f1_mean",
        label="F1",
        unit="%",
        value=share_of("f1"),
        of_all_rounds=True,
        lines=[Line("F1")],
        columns=["low", "high"],
        compare=compared("f1", "difference"),
        tested_as="f1",
    )
    for score in ("exact_match", "f1", "contains_gold"):
        yield Metric(key=score, value=score_of(score), of_all_rounds=True, columns=[""])
    yield Metric(
        key="from_schedule_ttft",
        label="TTFT from schedule",
        value=from_schedule("ttft_s"),
        in_load="from_schedule_ttft_s",
    )
    yield Metric(
        key="from_schedule_latency",
        label="E2E from schedule",
        value=from_schedule("e2e_s"),
        lines=[Line("E2E from schedule, median (s)", "median", ["details"])],
        columns=["median"],
        in_load="from_schedule_e2e_s",
    )
    for key, what, count in (
        ("token", "output token", energy.tokens_answered),
        ("request", "answered request", energy.answers),
        ("correct_answer", "answer that contains the gold answer", energy.correct_answers),
    ):
        yield Metric(
            key=f"energy_per_{key}",
            label=f"J per {what}",
            value=energy.energy_per(count),
            lines=[Line(f"measured energy (J per {what}), 95 % interval", "", ["details"])],
            columns=["value"] if key == "token" else (),
            compare=energy.compared_energy(count),
        )
    yield Metric(
        key="server_peak_gib",
        value=lambda side: side.peak_gib[0],
        of_all_rounds=True,
        lines=[Line("peak memory of the local server (GiB)", "", ["details"])],
    )
    yield Metric(
        key="gpu_peak_gib",
        value=lambda side: side.peak_gib[1],
        of_all_rounds=True,
        lines=[Line("peak memory in use on the fullest GPU (GiB)", "", ["details"])],
    )
    yield Metric(
        key="idle_before_w",
        value=lambda side: side.idle_w[0],
        lines=[Line("measured power before the load (W)", "", ["details"])],
    )
    yield Metric(
        key="idle_after_w",
        value=lambda side: side.idle_w[1],
        lines=[Line("measured power after the load (W)", "", ["details"])],
    )
    parts = [
        ("new_prefix", "prefix not sent before", "prefix_reused", 0),
        ("reused_prefix", "prefix sent before", "prefix_reused", 1),
        *((f"turn_{number}", f"turn {number}", "turn", number) for number in range(1, MOST_TURNS + 1)),
    ]
    for key, label, column, number in parts:
        yield Metric(
            key=f"{key}_ttft",
            value=typical_where("ttft_s", column, number),
            lines=[Line(f"typical TTFT (s), {label}, 95 % interval", "", ["details"])],
        )
        yield Metric(
            key=f"{key}_latency",
            value=typical_where("e2e_s", column, number),
            lines=[Line(f"typical E2E (s), {label}, 95 % interval", "", ["details"])],
        )
        yield Metric(
            key=f"{key}_cached",
            unit="%",
            value=cached_where(column, number),
            lines=[Line(f"prompt tokens cached, {label}", "", ["details"])],
            of_all_rounds=True,
        )
    yield Metric(
        key="prefix_effect",
        value=prefix_effect,
        lines=[Line("TTFT, prefix sent before ÷ not before, 95 % interval", "", ["details"])],
        columns=["value"],
    )
    for score, label in (("exact_match", "exact match"), ("f1", "F1")):
        yield Metric(
            key=f"{score}_folded",
            unit="%",
            value=share_of(f"{score}_folded"),
            of_all_rounds=True,
            lines=[Line(f"{label}, typography folded", "", ["details"])],
        )
    for key, label, field in (("latency", "E2E", "e2e_s"), ("ttft", "TTFT", "ttft_s")):
        tails = ["p90.value", "p95.value", "p99.value"]
        yield Metric(
            key=f"{key}_percentiles",
            value=percentiles_of(field),
            lines=[Line(f"{label} p{p} (s), 95 % interval", f"p{p}", ["details"]) for p in PERCENTS],
            columns=[*tails, "p95.low", "p95.high", "p99.low", "p99.high"] if key == "latency" else tails,
        )
        yield Metric(
            key=f"{key}_of_all",
            value=of_all(field),
            lines=[Line(f"{label} of all, failures as ∞: p50, p90, p95, p99 (s)", "", ["details"])],
        )


METRICS = {metric.key: metric for metric in _registry()}
"""Every metric, in the order of the tables."""


def lines_in(place: Place) -> Iterator[tuple[Metric, Line]]:
    """Return the lines of a table, each with its metric."""
    for metric in METRICS.values():
        for line in metric.lines:
            if place in line.places:
                yield metric, line


def judged_metrics() -> dict[str, Metric]:
    """Return the metrics that verdicts are made on, by their names there."""
    return {metric.tested_as: metric for metric in METRICS.values() if metric.tested_as}
