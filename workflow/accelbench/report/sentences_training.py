"""What the training figures show, in words: pure functions over rows and records.

Start-up and steady state are always distinguished. Batch sizes differ in rate only where they differ more than
repeats of one size do, and only for this session; they are never ranked by their loss, because at equal steps
they saw different amounts of data.
"""

import math
from collections.abc import Callable, Sequence

from accelbench.analysis.disturbance import disturbed_in_words
from accelbench.analysis.intervals import MIN_RUNS, counted
from accelbench.analysis.sweep import Alternatives, Outlier, RateSpread, Sweep, micro_batches, sequence_lengths
from accelbench.analysis.training import TrainingRow, by_series
from accelbench.analysis.verdicts import ALPHA, Verdict
from accelbench.report.text import (
    Labels,
    joined_range,
    listed,
    number,
    p_in_words,
    runs_each,
    series_name,
    size_name,
    span,
    unique,
)
from accelbench.store.records import TrainRunRecord

MAX_PHASES = 3  # named of a run that mostly did not train
NOT_SAID = "queue, compile, loading or checkpoints; the totals don't say which"


def fastest(rows: Sequence[TrainingRow]) -> TrainingRow | None:
    """Return the size with the highest steady rate; None without any on a quiet host."""
    rated = [row for row in rows if row.steady_rate_samples_per_s and math.isfinite(_steady(row)) and not row.disturbed]
    return max(rated, key=_steady, default=None)


def size_effect(sweep: Sweep, rows: Sequence[TrainingRow], tests: int = 1) -> str:
    """Say in plain words whether batch size matters for the rate, and where it was highest."""
    row, spread = fastest(rows), sweep.spread
    at = f"The highest mean rate was at batch size {row.batch_size:,}." if row else "No steady rate was measured."
    if len(rows) < 2 or row is None:
        return at
    if spread is None or spread.p is None:
        return f"{at} Whether sizes differ needs {MIN_RUNS} runs of each."
    p = min(1.0, tests * spread.p)
    if p <= ALPHA:
        return f"Batch size matters ({p_in_words(p, 2)}). {at}"
    apart = f"sizes differ by {_percent(spread.between)}, repeats of one size by {_percent(spread.within)}"
    return f"No effect of batch size shown: {apart}. {at}"


def _percent(share: float) -> str:
    return f"{100 * share:.{0 if share >= 0.1 else 1}f} %"


def rates(rows: Sequence[TrainingRow], labels: Labels) -> str:
    """Say how the steady rate varies over batch sizes and repeats, and how start-up lowers it."""
    if not rows:
        return "No training runs are in this report."
    if not any(row.repeats for row in rows):
        return "None of the planned training runs was measured."
    return " ".join(_rates_of(own, series_name(series, labels)) for series, own in by_series(rows).items())


def disturbed_runs(runs: Sequence[TrainRunRecord]) -> str:
    """Say what disturbed runs, and that no statement rests on them."""
    said = disturbed_in_words([run.host_activity for run in runs if run.state == "measured"], "training runs")
    return f"The machine was busy: {said}. Comparisons of batch sizes leave them out." if said else ""


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
            "These losses don't show which batch size learns better: "
            f"at {at} the runs saw {min(seen):,} to {max(seen):,} samples. Compare at equal samples."
        )
    held_out = [row.held_out_loss for row in done if row.held_out_loss is not None]
    if not held_out:
        return f"All batch sizes saw {seen[0]:,} samples; no held-out loss was logged."
    if not all(math.isfinite(loss) for loss in held_out):
        return f"All batch sizes saw {seen[0]:,} samples; a held-out loss is nan or infinite: a run diverged."
    return (
        f"All batch sizes saw {seen[0]:,} samples; held-out losses are {span(held_out, 4)} "
        f"({runs_each([row.timed_repeats for row in done])}; no interval, so no size is called better)."
    )


def _rates_of(rows: Sequence[TrainingRow], name: str) -> str:
    measured = [row for row in rows if row.steady_rate_samples_per_s and math.isfinite(_steady(row))]
    if not measured:
        return f"{name}: no steady rate could be measured."
    rated = [row for row in measured if not row.disturbed]
    if not rated:
        return f"{name}: no steady rate is named, as the host was disturbed during all runs."
    low = min(rated, key=_steady)
    high = max(rated, key=_steady)
    if len(rated) == 1:
        text = f"{name}: at batch size {low.batch_size:,} the steady rate was {number(_steady(low))} samples/s"
    else:
        text = (
            f"{name}: over {len(rated)} batch sizes the steady rate was between {number(_steady(low))} samples/s "
            f"(batch {low.batch_size:,}) and {number(_steady(high))} samples/s (batch {high.batch_size:,})"
        )
    gone = counted(len(measured) - len(rated), "batch size")
    without = f" ({gone} left out, as the host was disturbed during all runs)" if len(rated) < len(measured) else ""
    return f"{text}{without}; {_spread(rated)}. {_start_up(rated)}".strip()


def _spread(rows: Sequence[TrainingRow]) -> str:
    """Say by how much repeats of one size differed."""
    apart = [
        (row.steady_rate_highest or 0.0) / row.steady_rate_lowest - 1
        for row in rows
        if row.timed_repeats > 1 and row.steady_rate_lowest
    ]
    if not apart:
        return "one run each: no uncertainty can be given" if len(rows) > 1 else "one run: no uncertainty can be given"
    singles = sum(row.timed_repeats == 1 for row in rows)
    also = f", and {singles} of the sizes had one run only" if singles else ""
    each = runs_each([row.timed_repeats for row in rows])
    return f"{each}, repeats of the same size differed by up to {_percent(max(apart))}{also} (no interval)"


def _start_up(rows: Sequence[TrainingRow]) -> str:
    shares = [
        1 - row.samples_per_total_s / _steady(row)
        for row in rows
        if row.samples_per_total_s and row.samples_per_total_s < _steady(row)
    ]
    if len(shares) < len(rows) or max(shares) < 0.02:
        return ""
    lost = joined_range(f"{100 * min(shares):.0f}", f"{100 * max(shares):.0f}")
    return f"Over the total time, including start-up, it was {lost} % lower; that figure is not the machine's speed."


def _steady(row: TrainingRow) -> float:
    return row.steady_rate_samples_per_s or 0.0


def rates_differ(sweeps: Sequence[Sweep], labels: Labels, tests: int = 1) -> str:
    """Say whether batch sizes differed in steady rate more than repeats of one size did.

    `tests`: how many the report makes. Disturbed runs don't count.
    """
    said = []
    for sweep in sweeps:
        where = f"On {series_name(sweep, labels)}," if len(sweeps) > 1 else ""
        without = f" ({counted(sweep.busy_runs, 'run')} on a busy host left out)" if sweep.busy_runs else ""
        if sweep.spread:
            said.append(_differ(sweep.spread, where, without, tests))
        elif sweep.rated_sizes > 1:
            start = f"{where} differences" if where else "Differences"
            takes = f"that needs {MIN_RUNS} runs of each"
            said.append(f"{start} between sizes can't be told from run-to-run variation: {takes}{without}.")
    return " ".join(said)


def _differ(spread: RateSpread, where: str, without: str, tests: int) -> str:
    between, within = _percent(spread.between), _percent(spread.within)
    apart = f"size means differed by up to {between}, repeats of the same size by up to {within}{without}"
    if spread.f is None or spread.p is None:
        return f"{where or 'Here,'} {apart}; {spread.why_no_p}."
    p = min(1.0, tests * spread.p)
    corrected = ", corrected for all tests in this report" if tests > 1 else ""
    test = f"Welch's ANOVA on the logarithms of {spread.runs} rates: F = {number(spread.f)}, {p_in_words(p)}{corrected}"
    if p <= ALPHA:
        verdict = "the sizes differ more than repeats do"
        after = "this does not say which of them differ, nor anything about other days"
    else:
        verdict = "differences between sizes can't be told from run-to-run variation"
        after = "this does not show that they are equal"
    head = f"{where} for this session," if where else "For this session,"
    return f"{head} {verdict}: {apart} ({test}); {after}."


def rate_verdict(verdict: Verdict, batch_size: int, ours: str, theirs: str, runs: Sequence[int]) -> str:
    """Say how the rates of two sides at one batch size compare; `runs`: of each side."""
    compared, margin = verdict.comparison, f"±{100 * verdict.margin:g} %"
    found = f"ratio of steady rates, {ours} ÷ {theirs}, {number(compared.value, 4)}"
    interval = compared.interval()
    if interval is None or verdict.p_value is None:
        why = "one run each" if max(runs) == 1 else compared.why_no_interval
        rate = f"the steady rate of {ours} was {number(compared.value, 4)} times that of {theirs}"
        return f"At batch size {batch_size:,}, {rate}. No uncertainty can be given: {why}."
    low, high = (number(end, 4) for end in interval)
    said = {
        "higher": f"{ours} was faster than {theirs}",
        "lower": f"{ours} was slower than {theirs}",
        "equivalent": f"{ours} and {theirs} were equal within {margin}",
        "undecided": f"no difference between {ours} and {theirs} could be shown",
    }[verdict.kind]
    shown = f"95 % interval {low} to {high}, {runs[0]} and {runs[1]} runs; {p_in_words(verdict.p_value)}"
    text = f"At batch size {batch_size:,}, {said}: {found} ({shown}, corrected for all sizes compared)."
    if verdict.needed and verdict.needed.more_rounds:
        text += f" Resolving {margin} would take about {verdict.needed.rounds:,} runs on each side."
    return text


def not_training(sweeps: Sequence[Sweep], labels: Labels) -> str:
    """Name the runs that, unlike the rest of their sweep, mostly did not train."""
    return " ".join(_outlier(outlier, labels) for sweep in sweeps for outlier in sweep.outliers)


def _outlier(run: Outlier, labels: Labels) -> str:
    name = f"{size_name(run, labels)}, repeat {run.repeat}"
    phases = [f"{phase} {number(spent)} s" for phase, spent in list(run.phases_s.items())[:MAX_PHASES]]
    where = f"mostly {listed(phases)}" if phases else NOT_SAID
    return (
        f"{name}: {100 * run.share:.0f} % of its time is not training (median of the sweep: "
        f"{100 * run.median_share:.0f} %): {where}. Its total time reflects this more than its batch size."
    )


def micro_batch_sentence(rows: Sequence[TrainingRow], labels: Labels) -> str:
    """Say by how much micro batches of one batch size differed in steady rate, and repeats of one micro batch."""
    found = micro_batches([row for row in rows if not row.disturbed])
    return _by_platform(found, labels, "micro batches", "steady rate", _at_micro_batch)


def length_sentence(rows: Sequence[TrainingRow], labels: Labels) -> str:
    """Say by how much sequence lengths of one batch size differed in tokens per second, and repeats of one length."""
    found = sequence_lengths([row for row in rows if not row.disturbed])
    return _by_platform(found, labels, "sequence lengths", "tokens/s", _at_length)


def _by_platform(
    found: Sequence[Alternatives], labels: Labels, what: str, rate: str, at: Callable[[float, TrainingRow], str]
) -> str:
    platforms = unique(size.platform for size in found)
    return " ".join(
        _of_platform([size for size in found if size.platform == name], labels, what, rate, at) for name in platforms
    )


def _of_platform(
    found: Sequence[Alternatives], labels: Labels, what: str, rate: str, at: Callable[[float, TrainingRow], str]
) -> str:
    size = max(found, key=lambda size: size.between)
    by_rate = sorted(zip(size.rates, size.rows, strict=True), key=lambda each: each[0])
    within = [size.within for size in found if size.within is not None]
    repeats = (
        f"repeats of one differed by up to {_percent(max(within))} (no test is made)"
        if within
        else "one run each: no uncertainty can be given"
    )
    return (
        f"{labels.get(size.platform, size.platform)}: {what} at one batch size differed by up to "
        f"{_percent(size.between)} in {rate} (batch {size.batch_size:,}: {at(*by_rate[0])}, {at(*by_rate[-1])}); "
        f"{repeats}."
    )


def _at_micro_batch(rate: float, row: TrainingRow) -> str:
    return f"{number(rate)} samples/s at micro batch {row.micro_batch_size:,}"


def _at_length(rate: float, row: TrainingRow) -> str:
    return f"{number(rate)} tokens/s at {row.length:,} tokens per sample"
