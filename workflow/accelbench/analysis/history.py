"""The headline figures of report after report, and where they changed.

A change is claimed where stretches of reports differ by more than their intervals carry, corrected for all places and
figures looked at. Where reports scatter more than their intervals say, as sessions differ in more than their rounds
show, the scatter counts instead. Reports of the same measurements count once, disturbed figures not at all.
"""

import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict

from accelbench.analysis.change_points import segments_of
from accelbench.analysis.disturbance import disturbances
from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.intervals import (
    MIN_RUNS,
    Comparison,
    Estimate,
    Influence,
    Proportion,
    Scale,
    Spread,
    contrast_of,
    counted,
    distinct,
    of_one_side,
    t_quantile,
    too_few,
)
from accelbench.analysis.metrics import judged_metrics
from accelbench.analysis.pairs import Judged
from accelbench.analysis.sample import Side
from accelbench.analysis.training import TrainingRow
from accelbench.plan import specs
from accelbench.store import paths
from accelbench.store.records import InferRoundRecord, JsonObject, TrainRunRecord

_ENERGY, _SPEED, _RATE = "energy_per_token", "system_output_tok_per_s", "steady_rate_samples_per_s"
_SOFTWARE = ("server", "version", "precision", "served_as")
_VERSION = re.compile(r"v?\d+\.\d")
_HOST = ("name", "cpu", "cores", "system", "python")
_OF_A_ROUND = ("kind", "cell", "round", "repeat", "seed")
_LARGE = ("model", "corpus", "prompts", "log")  # of a spec: their digest is enough


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _checked_moment(text: str) -> str:
    _moment(text)
    return text


Moment = Annotated[str, AfterValidator(_checked_moment)]
"""A time, as measured.json has it."""
_Half = Literal["training", "inference", "comparison"]
Record = TrainRunRecord | InferRoundRecord


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")


class HistoryFigure(_Kept):
    """One figure of a report, in its unit. `se` and `df` are those of its interval: of its log where scale is ratio."""

    metric: str
    label: str
    unit: str
    scale: Scale
    value: float
    low: float | None
    high: float | None
    n: int
    se: float | None
    df: float | None
    disturbed: bool = False
    """Whether the host was busy in every round or run that it is of."""


class HistoryRow(_Kept):
    """The figures of an endpoint under a load, a platform at a size, or two endpoints; and what they are of."""

    half: _Half
    name: str
    load: str
    measured_at: Moment
    measurements: list[str]
    """A digest of each measurement: its spec, and when it was made."""
    spec: str
    """The digest of all their specs."""
    rounds: int
    rounds_disturbed: int
    figures: list[HistoryFigure]
    settings: dict[str, str]
    software: dict[str, str]
    host: dict[str, str]


class HistoryEntry(_Kept):
    """The headline figures of one finished report: a line of history.jsonl."""

    version: Literal[1] = 1
    identity: str
    """The digest of what was measured: a report that is made again has the same."""
    reported_at: Moment
    title: str
    accelbench: str
    rows: list[HistoryRow]


def identity_of(rows: Iterable[HistoryRow]) -> str:
    """Return the digest of all measurements of a report."""
    return specs.digest(specs.canonical(sorted({each for row in rows for each in row.measurements})))


# --- what a report says ----------------------------------------------------------------------------------------


def headlines(
    runs: Sequence[TrainRunRecord],
    rounds: Sequence[InferRoundRecord],
    training: Iterable[TrainingRow],
    inference: Iterable[InferenceRow],
    sides: Mapping[tuple[str, str], Side],
    judged: Iterable[Judged],
    planned: Mapping[str, str],
) -> list[HistoryRow]:
    """Return the headline figures of a report. `planned`: the spec of each run and round by its name."""
    by_cell: dict[tuple[str, str], list[InferRoundRecord]] = defaultdict(list)
    for record in rounds:
        if record.measured_at:
            by_cell[record.endpoint, record.cell].append(record)
    found: list[HistoryRow | None] = []
    for row in training:
        size = (row.platform, row.batch_size, row.micro_batch_size)
        done = (run for run in runs if run.measured_at)
        own = [run for run in done if (run.platform, run.batch_size, run.micro_batch_size) == size]
        load = paths.size(row.batch_size, row.micro_batch_size)
        found.append(_row(("training", row.platform, load), own, _of_runs(row, own), planned))
    for each in inference:
        key = (each.endpoint, each.cell)
        found.append(_row(("inference", *key), by_cell[key], list(_of_side(each, sides[key])), planned))
    for pair in (each for each in judged if not each.control):
        ours, theirs, cell = pair.pair.name
        both = [*by_cell[ours, cell], *by_cell[theirs, cell]]
        found.append(_row(("comparison", f"{ours} ÷ {theirs}", cell), both, list(_of_pair(pair)), planned))
    return [row for row in found if row]


def _row(
    place: tuple[_Half, str, str], records: Sequence[Record], figures: list[HistoryFigure], planned: Mapping[str, str]
) -> HistoryRow | None:
    half, name, load = place
    if not records or not figures:
        return None
    own = {record.name: planned.get(record.name, "{}") for record in records}
    made = [[record.name, specs.digest(own[record.name]), record.measured_at] for record in records]
    subjects = [_subject(record) if half == "comparison" else "" for record in records]
    hosts = [{key: value for key, value in (record.host or {}).items() if key in _HOST} for record in records]
    return HistoryRow(
        half=half,
        name=name,
        load=load,
        measured_at=max((record.measured_at for record in records if record.measured_at), key=_moment),
        measurements=[specs.digest(specs.canonical(each)) for each in made],
        spec=specs.digest(specs.canonical(sorted(set(own.values())))),
        rounds=len(records),
        rounds_disturbed=sum(bool(disturbances(record.host_activity)) for record in records),
        figures=figures,
        settings={**_settings(subjects, [orjson.loads(spec) for spec in own.values()]), "rounds": str(len(records))},
        software=_joined(subjects, map(_software, records)),
        host=_joined([""] * len(records), hosts),
    )


def _of_side(row: InferenceRow, side: Side) -> Iterator[HistoryFigure]:
    for name, metric in judged_metrics().items():
        if any("overview" in line.places for line in metric.lines):
            scale: Scale = "difference" if metric.of_all_rounds else "ratio"
            own = side if metric.of_all_rounds else side.quiet
            found = of_one_side(own.observations(name), scale)
            if found:
                shown = row.figures.get(metric.key)
                ends = (shown.low, shown.high) if isinstance(shown, Proportion) else None
                unit, disturbed = ("%", False) if metric.of_all_rounds else ("s", row.disturbed)
                yield _figure(name, metric.label, unit, found, disturbed, ends)
    speeds = [per_s for per_s in side.quiet.speeds.get("completion_tokens", {}).values() if per_s]
    if speeds:
        why = too_few(distinct(side.quiet.whole["text_number"]), len(speeds))
        speed = contrast_of("ratio", Influence.of_runs(np.log(speeds)), why=why)
        yield _figure(_SPEED, "system throughput", "output tok/s", speed, row.disturbed)
    energy = row.figures.get(_ENERGY)
    if isinstance(energy, Estimate) and energy.low and energy.high:
        df = energy.n - 1
        se = math.log(energy.high / energy.low) / 2 / t_quantile(0.975, df)
        yield HistoryFigure(
            metric=_ENERGY,
            label="measured energy",
            unit="J per output token",
            scale="ratio",
            value=energy.value,
            low=energy.low,
            high=energy.high,
            n=energy.n,
            se=se,
            df=df,
            disturbed=row.disturbed,
        )


def _of_runs(row: TrainingRow, runs: Sequence[TrainRunRecord]) -> list[HistoryFigure]:
    quiet = [run for run in runs if not disturbances(run.host_activity)] or runs
    rates = [rate for run in quiet if (rate := run.logged.steady_rate_samples_per_s) and math.isfinite(rate)]
    if not rates:
        return []
    why = f"{counted(len(rates), 'run')}: an interval needs {MIN_RUNS}" if len(rates) < MIN_RUNS else None
    found = contrast_of("ratio", Influence.of_runs(np.log(rates)), why=why)
    return [_figure(_RATE, "steady rate", "samples/s", found, row.disturbed)]


def _of_pair(judged: Judged) -> Iterator[HistoryFigure]:
    for name, verdict in judged.verdicts.items():
        found, label = verdict.comparison, judged_metrics()[name].label
        yield _figure(name, label, "ratio" if found.scale == "ratio" else "points", found, disturbed=False)


def _figure(
    metric: str, label: str, unit: str, found: Comparison, disturbed: bool, ends: tuple[Any, Any] | None = None
) -> HistoryFigure:
    """Return a figure; `ends`: of its interval, where another one than the comparison's is shown."""
    estimate = found.estimate()
    widest = max(found.spreads, key=Spread.half_width) if found.spreads and not found.why_no_interval else None
    low, high = ends or (estimate.low, estimate.high)
    times = 100 if found.scale == "difference" else 1
    return HistoryFigure(
        metric=metric,
        label=label,
        unit=unit,
        scale=found.scale,
        value=times * estimate.value,
        low=None if low is None else times * low,
        high=None if high is None else times * high,
        n=found.n,
        se=times * widest.se if widest else None,
        df=widest.df if widest else None,
        disturbed=disturbed,
    )


def _subject(record: Record) -> str:
    """Return what stands before a fact of one of two endpoints."""
    return f"{record.endpoint}: " if isinstance(record, InferRoundRecord) else ""


def _settings(subjects: Sequence[str], told: Sequence[JsonObject]) -> dict[str, str]:
    """Return what specs say, without what differs from round to round; of what is large, the digest."""
    left_out = (*_OF_A_ROUND, *_LARGE)
    small = _joined(subjects, (_flat({k: v for k, v in spec.items() if k not in left_out}) for spec in told))
    large = _joined(subjects, ({k: spec[k] for k in _LARGE if spec.get(k)} for spec in told))
    return small | {key: specs.digest(value) for key, value in large.items()}


def _flat(record: JsonObject) -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{name}": inner for name, inner in _flat(value).items()}
        elif key != "name":
            flat[key] = value
    return flat


def _software(record: Record) -> dict[str, object]:
    if isinstance(record, TrainRunRecord):
        trainer = record.trainer or {}
        return {**trainer.get("versions", {}), "device": trainer.get("device_name") or record.logged.device}
    facts = record.facts or {}
    return {
        key: value
        for key, value in facts.items()
        if isinstance(value, str) and (key in _SOFTWARE or _VERSION.match(value))
    }


def _joined(subjects: Sequence[str], facts: Iterable[Mapping[str, object]]) -> dict[str, str]:
    """Return facts of several measurements as one: each distinct value, in order."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for subject, own in zip(subjects, facts, strict=True):
        for key, value in own.items():
            if value is not None:
                found[f"{subject}{key}"][value if isinstance(value, str) else specs.canonical(value)] = None
    return {key: ", ".join(values) for key, values in found.items()}


# --- trends ----------------------------------------------------------------------------------------------------


class Stretch(_Kept):
    """Reports in a row whose figure did not change: the mean of the figures, with its interval where there is one."""

    reports: int
    begins_at: str
    ends_at: str
    estimate: Estimate
    change: Estimate | None = None
    """The ratio, or the difference, to the stretch before; null for the first one."""
    causes: list[str] = []
    """What changed in spec, software or host where this stretch begins; empty: nothing that was recorded."""
    same_host: bool = True


@dataclass(frozen=True, slots=True)
class Trend:
    """One figure over all reports: the row and the figure of each, oldest first, and its stretches."""

    points: list[tuple[HistoryRow, HistoryFigure]]
    stretches: list[Stretch]

    @property
    def row(self) -> HistoryRow:
        """The newest row."""
        return self.points[-1][0]

    @property
    def figure(self) -> HistoryFigure:
        """The newest figure."""
        return self.points[-1][1]

    @property
    def changes(self) -> list[Stretch]:
        """The stretches that begin with a change."""
        return self.stretches[1:]


def trends_of(entries: Iterable[HistoryEntry], metrics: Collection[str] = ()) -> list[Trend]:
    """Return each figure over all reports, in the order of the newest report. `metrics`: only these, if any."""
    found: dict[tuple[str, str, str, str], list[tuple[HistoryRow, HistoryFigure]]] = defaultdict(list)
    for entry in sorted(entries, key=lambda each: _moment(each.reported_at), reverse=True):
        for row in entry.rows:
            row = row.model_copy(update={"software": {"accelbench": entry.accelbench, **row.software}})
            for figure in row.figures:
                if not metrics or figure.metric in metrics:
                    found[row.half, row.name, row.load, figure.metric].append((row, figure))
    series = [_distinct(points) for points in found.values()]
    tests = sum(len(_counting(points)) > 1 for points in series)
    return [Trend(points, _stretches(_counting(points), tests)) for points in series]


def _distinct(points: Iterable[tuple[HistoryRow, HistoryFigure]]) -> list[tuple[HistoryRow, HistoryFigure]]:
    """Return points oldest first; of those that share a measurement, only that of the newest report."""
    kept: list[tuple[HistoryRow, HistoryFigure]] = []
    seen: set[str] = set()
    for row, figure in points:
        if seen.isdisjoint(row.measurements):
            kept.append((row, figure))
        seen.update(row.measurements)
    return sorted(kept, key=lambda point: _moment(point[0].measured_at))


def _counting(points: Iterable[tuple[HistoryRow, HistoryFigure]]) -> list[tuple[HistoryRow, HistoryFigure]]:
    return [point for point in points if not point[1].disturbed and _is_placed(point[1])]


def _is_placed(figure: HistoryFigure) -> bool:
    return math.isfinite(figure.value) and (figure.value > 0 or figure.scale == "difference")


def _stretches(points: Sequence[tuple[HistoryRow, HistoryFigure]], tests: int) -> list[Stretch]:
    if not points:
        return []
    scale = points[0][1].scale
    values = [math.log(figure.value) if scale == "ratio" else figure.value for _, figure in points]
    spreads = [Spread(figure.se, figure.df) if figure.se and figure.df else None for _, figure in points]
    found: list[Stretch] = []
    for segment in segments_of(values, spreads, tests):
        own, before = points[segment.start : segment.end], found[-1].reports if found else 0
        causes, same_host = _causes(points[segment.start - 1][0], own[0][0]) if found else ([], True)
        change = segment.shift
        found.append(
            Stretch(
                reports=len(own),
                begins_at=own[0][0].measured_at,
                ends_at=own[-1][0].measured_at,
                estimate=_within(own[0][1].unit, _estimate(scale, segment.mean, segment.spread, len(own))),
                change=None if change is None else _estimate(scale, change, segment.shift_spread, len(own) + before),
                causes=causes,
                same_host=same_host,
            )
        )
    return found


def _estimate(scale: Scale, centre: float, spread: Spread | None, n: int) -> Estimate:
    half = spread.half_width() if spread else math.nan
    value, low, high = (math.exp(end) if scale == "ratio" else end for end in (centre, centre - half, centre + half))
    return Estimate(value, low, high, n) if spread else Estimate(value, None, None, n, "no spread is known")


def _within(unit: str, found: Estimate) -> Estimate:
    """Return an estimate with the ends of its interval where they can be: a share's from 0 to 100 %."""
    if unit != "%" or found.low is None or found.high is None:
        return found
    return replace(found, low=max(0.0, found.low), high=min(100.0, found.high))


def _causes(before: HistoryRow, after: HistoryRow) -> tuple[list[str], bool]:
    """Return what changed from one row to the next, and whether the host stayed the same."""
    told = [*_changed(before.settings, after.settings), *_changed(before.software, after.software)]
    host = list(_changed(before.host, after.host))
    return [*told, *(f"host: {each}" for each in host)], not host


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for key in dict.fromkeys([*before, *after]):
        if before.get(key) != after.get(key):
            yield f"{key} {before.get(key, 'not set')} → {after.get(key, 'not set')}"
