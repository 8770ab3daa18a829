"""What the figures carry, in words: pure functions over rows and records.

A sentence says how many observations it rests on and how sure it is, or that it can't say. Endpoints are told
apart only where the interval of their paired ratio excludes 1, and only for this session; batch sizes are never
ranked by their loss, because at equal steps they saw different amounts of data.
"""

import datetime
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.statistics import Estimate
from accelbench.analysis.training import TrainingRow
from accelbench.records import InferRoundRecord, TrainRunRecord
from accelbench.report.tables import number

BUSY = 0.5  # share of one core: a client this busy delays what it measures
MAX_COMPARED = 2  # endpoints in the summary; the rest stands in the tables
MAX_NAMED = 3  # rows with failures; more are added up by endpoint
LENGTHS_DIFFER = 1.1  # a ratio of mean output lengths from which on it is named beside the latencies
Labels = Mapping[str, str]


def summary_sentences(
    training: Sequence[TrainingRow],
    inference: Sequence[InferenceRow],
    rounds: Sequence[InferRoundRecord],
    labels: Labels,
) -> list[str]:
    """Return the summary: what was found in each half, what is confounded, what failed."""
    said = [
        rates(training, labels),
        losses(training, labels),
        *comparisons(inference, labels),
        " ".join(filter(None, [confounded(rounds, inference, labels), busy_client(rounds, labels)])),
        outcomes(inference, labels),
    ]
    return [sentence for sentence in said if sentence]


# --- training -----------------------------------------------------------------------------------------------


def rates(rows: Sequence[TrainingRow], labels: Labels) -> str:
    """Say how the steady rate varies over batch sizes and repeats, and what start-up makes of it."""
    if not rows:
        return "No training runs are part of this."
    if not any(row.repeats for row in rows):
        return "None of the planned training runs was measured."
    return " ".join(_rates_of([r for r in rows if r.platform == p], labels) for p in _unique(r.platform for r in rows))


def losses(rows: Sequence[TrainingRow], labels: Labels) -> str:
    """Say why the losses of different sizes are not compared, or give their range where they may be."""
    done = [row for row in rows if row.repeats]
    seen = [row.samples_seen for row in done if row.samples_seen]
    if len({row.batch_size for row in done}) < 2 or not seen:
        return ""
    if min(seen) != max(seen):
        steps = {row.steps for row in done}
        at = f"the same {done[0].steps:,} steps" if len(steps) == 1 and done[0].steps else "the end of their runs"
        return (
            "Which batch size learns better is not answered by these losses: "
            f"at {at} the runs saw {min(seen):,} to {max(seen):,} samples. Compare at equal samples."
        )
    held_out = [row.held_out_loss for row in done if row.held_out_loss is not None]
    if not held_out:
        return f"All batch sizes saw {seen[0]:,} samples; no held-out loss was logged."
    if not all(math.isfinite(loss) for loss in held_out):
        return f"All batch sizes saw {seen[0]:,} samples; a held-out loss is nan or infinite: a run diverged."
    return (
        f"All batch sizes saw {seen[0]:,} samples; held-out losses are {_span(held_out, 4)} "
        f"({_runs_each(done)}; no interval, so no size is called better)."
    )


def _rates_of(rows: Sequence[TrainingRow], labels: Labels) -> str:
    name = labels.get(rows[0].platform, rows[0].platform)
    rated = [row for row in rows if row.steady_rate_samples_per_s and math.isfinite(_steady(row))]
    if not rated:
        return f"{name}: no steady rate could be measured."
    low = min(rated, key=_steady)
    high = max(rated, key=_steady)
    if len(rated) == 1:
        text = f"{name}: at batch size {low.batch_size:,} the steady rate was {number(_steady(low))} samples/s"
    else:
        text = (
            f"{name}: over {len(rated)} batch sizes the steady rate was between {number(_steady(low))} samples/s "
            f"(batch {low.batch_size:,}) and {number(_steady(high))} samples/s (batch {high.batch_size:,})"
        )
    return f"{text}; {_spread(rated)}. {_start_up(rated)}".strip()


def _spread(rows: Sequence[TrainingRow]) -> str:
    """Say how far repeats of one size lay apart."""
    apart = [
        (row.steady_rate_highest or 0.0) / row.steady_rate_lowest - 1
        for row in rows
        if row.repeats > 1 and row.steady_rate_lowest
    ]
    if not apart:
        return "one run each: no uncertainty can be given" if len(rows) > 1 else "one run: no uncertainty can be given"
    singles = sum(row.repeats == 1 for row in rows)
    also = f", and {singles} of the sizes had one run only" if singles else ""
    return f"{_runs_each(rows)}, repeats of one size were up to {100 * max(apart):.1f} % apart{also} (no interval)"


def _start_up(rows: Sequence[TrainingRow]) -> str:
    shares = [
        1 - row.samples_per_total_s / _steady(row)
        for row in rows
        if row.samples_per_total_s and row.samples_per_total_s < _steady(row)
    ]
    if len(shares) < len(rows) or max(shares) < 0.02:
        return ""
    lost = _joined_range(f"{100 * min(shares):.0f}", f"{100 * max(shares):.0f}")
    return f"Over the total time, start-up included, it was {lost} % lower: that figure is not the machine's speed."


def _steady(row: TrainingRow) -> float:
    return row.steady_rate_samples_per_s or 0.0


def _runs_each(rows: Sequence[TrainingRow]) -> str:
    least, most = min(row.repeats for row in rows), max(row.repeats for row in rows)
    if most == 1:
        return "one run each"
    return f"{most} runs each" if least == most else f"{least} to {most} runs each"


# --- inference ----------------------------------------------------------------------------------------------


def baseline_of(rows: Sequence[InferenceRow]) -> InferenceRow:
    """Return the row of a cell that the others' ratios refer to."""
    return next((row for row in rows if row.endpoint == row.baseline), rows[0])


def comparisons(rows: Sequence[InferenceRow], labels: Labels) -> list[str]:
    """Return what can be said of each endpoint against the baseline; of one endpoint alone, its latency."""
    if not rows:
        return ["No endpoints are part of this."]
    cells = [[row for row in rows if row.cell == cell] for cell in _unique(row.cell for row in rows)]
    if not any(row.requests for row in rows):
        return ["None of the planned rounds was measured."]
    if all(len(cell) == 1 for cell in cells):
        return [" ".join(_alone(cell[0], labels) for cell in cells)]
    pairs = [(row, baseline_of(cell)) for cell in cells for row in cell if row is not baseline_of(cell)]
    names = _unique(row.endpoint for row, _ in pairs)
    said = [_compared([pair for pair in pairs if pair[0].endpoint == name], labels) for name in names]
    if len(said) > MAX_COMPARED:
        rest = _listed([labels.get(name, name) for name in names[MAX_COMPARED:]])
        said[MAX_COMPARED - 1] += f" The comparison of {rest} stands in the table below."
    return said[:MAX_COMPARED]


def outcomes(rows: Sequence[InferenceRow], labels: Labels) -> str:
    """Say how many requests succeeded, and name those that failed."""
    asked, good = sum(row.requests for row in rows), sum(row.successes for row in rows)
    if not asked:
        return ""
    if asked == good:
        return f"All {asked:,} requests succeeded."
    failed = [row for row in rows if row.requests > row.successes]
    named = [f"{labels.get(r.endpoint, r.endpoint)} in {r.cell} ({r.failures})" for r in failed]
    if len(failed) > MAX_NAMED:
        totals = {
            name: sum(r.requests - r.successes for r in failed if r.endpoint == name)
            for name in _unique(r.endpoint for r in failed)
        }
        named = [f"{count} of {labels.get(name, name)}" for name, count in totals.items()]
    return (
        f"{asked - good:,} of {asked:,} requests failed: {_listed(named)}. They count in the success rates, "
        "but have no latency: the latencies are those of the successes only."
    )


def confounded(rounds: Sequence[InferRoundRecord], rows: Sequence[InferenceRow], labels: Labels) -> str:
    """Name what differs between the endpoints beside the endpoint itself."""
    done = [record for record in rounds if record.state == "measured"]
    names = _unique(record.endpoint for record in done)
    if len(names) < 2:
        return ""
    found = [*_weights_differ(done, labels), *_lengths_differ(rows, labels), *_sessions_differ(done, names)]
    return f"What the ratios can't tell apart: {'; '.join(found)}." if found else ""


def busy_client(rounds: Sequence[InferRoundRecord], labels: Labels) -> str:
    """Warn where the client itself was busy enough to be part of the latencies."""
    busy = [record for record in rounds if (record.cpu_share or 0.0) > BUSY]
    if not busy:
        return ""
    most = max(record.cpu_share or 0.0 for record in busy)
    where = _unique(f"{labels.get(r.endpoint, r.endpoint)} in {r.cell}" for r in busy)
    return (
        f"The client took up to {100 * most:.0f} % of a core ({_listed(where)}): "
        "the latencies there may be partly the client's own."
    )


def _alone(row: InferenceRow, labels: Labels) -> str:
    name = labels.get(row.endpoint, row.endpoint)
    if row.latency is None:
        return f"{name}: none of {row.requests} requests in {row.cell} succeeded."
    typical = row.typical_latency
    return (
        f"{name}, {row.cell}: median latency {number(row.latency.median)} s (n = {row.latency.n}); "
        f"typical latency {_with_interval(typical, ' s') if typical else 'unknown'}."
    )


def _compared(pairs: Sequence[tuple[InferenceRow, InferenceRow]], labels: Labels) -> str:
    """Say all that can be said of one endpoint, grouped by how sure it is."""
    row, base = pairs[0]
    ours, theirs = labels.get(row.endpoint, row.endpoint), labels.get(base.endpoint, base.endpoint)
    by_verdict: dict[str, list[InferenceRow]] = {}
    for own, _ in pairs:
        by_verdict.setdefault(_verdict(own.ratio_to_baseline), []).append(own)
    said = []
    for verdict in ("slower", "faster"):
        if cells := by_verdict.get(verdict):
            where = _listed([_ratio(r) for r in cells])
            said.append(f"For this session, {ours} was {verdict} than {theirs}: latency ratio {where}.")
    if cells := by_verdict.get("open"):
        where = _listed([_ratio(r) for r in cells])
        said.append(f"Between {ours} and {theirs} no difference in latency could be shown: ratio {where}.")
    if cells := by_verdict.get("no interval"):
        where = _listed([_ratio(r) for r in cells])
        said.append(f"{ours} against {theirs}: latency ratio {where}. Without an interval neither is called faster.")
    if cells := by_verdict.get("no pair"):
        where = _listed([r.cell for r in cells])
        said.append(f"{ours} and {theirs} can't be compared in {where}: no prompt was answered by both.")
    return " ".join(said)


def _verdict(ratio: Estimate | None) -> str:
    if ratio is None:
        return "no pair"
    if ratio.low is None or ratio.high is None:
        return "no interval"
    return "slower" if ratio.low > 1 else "faster" if ratio.high < 1 else "open"


def _ratio(row: InferenceRow) -> str:
    ratio = row.ratio_to_baseline
    return _with_interval(ratio, f" in {row.cell}", " pairs") if ratio else f"unknown in {row.cell}"


def _with_interval(estimate: Estimate, after: str, counted: str = "") -> str:
    value, n = f"{number(estimate.value)}{after}", f"n = {estimate.n}{counted}"
    if estimate.low is None or estimate.high is None:
        return f"{value} ({n}; no interval: {estimate.why_no_interval or 'the reason is not recorded'})"
    return f"{value} (95 % interval {number(estimate.low)} to {number(estimate.high)}, {n})"


def _weights_differ(done: Sequence[InferRoundRecord], labels: Labels) -> list[str]:
    found = []
    models, precisions = _facts_of(done, "model"), _facts_of(done, "precision")
    if len(set(models.values())) > 1:
        found.append(f"different models ({_pairs(models, labels)})")
    if len(set(precisions.values())) > 1:
        same = "the same model in" if len(set(models.values())) == 1 else ""
        found.append(f"{same} different precision ({_pairs(precisions, labels)})".strip())
    hosts = _unique(str((record.host or {}).get("name")) for record in done)
    if len(hosts) > 1:
        found.append(f"clients on different hosts ({_listed(hosts)})")
    return found


def _lengths_differ(rows: Sequence[InferenceRow], labels: Labels) -> list[str]:
    found = []
    for cell in _unique(row.cell for row in rows):
        lengths = {r.endpoint: r.completion_tokens for r in rows if r.cell == cell and r.completion_tokens}
        if lengths and max(lengths.values()) > LENGTHS_DIFFER * min(lengths.values()):
            means = _pairs({name: number(tokens) for name, tokens in lengths.items()}, labels)
            found.append(f"{cell} ({means})")
    return [f"different mean output lengths in tokens: {'; '.join(found)}"] if found else []


def _sessions_differ(done: Sequence[InferRoundRecord], names: Sequence[str]) -> list[str]:
    """Tell from the recorded times whether one endpoint's rounds all lay before another's."""
    apart = []
    for cell in _unique(record.cell for record in done):
        spans = [_times([r for r in done if (r.endpoint, r.cell) == (name, cell)]) for name in names]
        there = sorted(span for span in spans if span and span[0] != span[-1])
        if any(left[-1] <= right[0] for left, right in itertools.pairwise(there)):
            apart.append(cell)
    return [f"time: the rounds of {_listed(apart)} were not interleaved"] if apart else []


def _times(records: Iterable[InferRoundRecord]) -> list[datetime.datetime]:
    return sorted(datetime.datetime.fromisoformat(r.started_at) for r in records if r.started_at)


def _facts_of(done: Sequence[InferRoundRecord], key: str) -> dict[str, Any]:
    return {r.endpoint: str(r.facts[key]) for r in done if r.facts and r.facts.get(key) is not None}


def _pairs(facts: Mapping[str, str], labels: Labels) -> str:
    return ", ".join(f"{labels.get(name, name)}: {fact}" for name, fact in facts.items())


# --- both ---------------------------------------------------------------------------------------------------


def absent(runs: Sequence[TrainRunRecord], rounds: Sequence[InferRoundRecord]) -> str:
    """Say how many of the planned measurements are not there; empty when all are."""
    states: list[str] = [*(run.state for run in runs), *(record.state for record in rounds)]
    lacking = [state for state in states if state != "measured"]
    if not lacking:
        return ""
    kinds = _listed([f"{lacking.count(state)} {state}" for state in _unique(lacking)])
    return f"{len(lacking)} of {len(states)} planned measurements are not in this report: {kinds}."


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _span(values: Sequence[float], digits: int = 3) -> str:
    return _joined_range(number(min(values), digits), number(max(values), digits))


def _joined_range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"
